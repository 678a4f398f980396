/** Colours of the current theme, read from the variables that VS Code sets; reports changes. */
import { markColour, palette, shades, type Shade } from '../protocol/palette.ts';

export interface Theme {
  readonly background: string;
  readonly foreground: string;
  readonly muted: string;
  readonly grid: string;
  /** Of exits and their curves. */
  readonly marks: Readonly<Record<Shade, string>>;
  readonly font: string;
}

/** CSS class that sets `--mark` and `--tint` to a shade's colours. */
export const shadeClass = (shade: Shade): string => `shade-${shade}`;

export function readTheme(): Theme {
  const style = getComputedStyle(document.documentElement);
  const colour = (name: string, fallback: string): string =>
    style.getPropertyValue(`--vscode-${name}`).trim() || fallback;
  const foreground = colour('editor-foreground', '#888888');
  const isHighContrast = document.body.classList.contains('vscode-high-contrast');
  const marks = shades.map((shade) => [shade, colour(markColour(shade).replace('.', '-'), palette[shade].mark.dark)]);
  return {
    background: colour('editor-background', '#1e1e1e'),
    foreground,
    muted: isHighContrast ? foreground : colour('descriptionForeground', foreground),
    grid: withAlpha(foreground, isHighContrast ? 0.25 : 0.1),
    marks: Object.fromEntries(marks) as Record<Shade, string>,
    font: `12px ${style.getPropertyValue('--vscode-font-family').trim() || 'sans-serif'}`,
  };
}

export function onThemeChange(act: () => void): void {
  new MutationObserver(act).observe(document.body, {
    attributes: true,
    attributeFilter: ['class', 'data-vscode-theme-id'],
  });
  new MutationObserver(act).observe(document.documentElement, { attributes: true, attributeFilter: ['style'] });
}

/** Any CSS colour with another opacity. */
const withAlpha = (colour: string, alpha: number): string =>
  `color-mix(in srgb, ${colour} ${Math.round(100 * alpha)}%, transparent)`;
