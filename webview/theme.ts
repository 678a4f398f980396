/** Colours of the current theme, read from the variables that VS Code sets; tells when they change. */

export interface Theme {
  readonly background: string;
  readonly foreground: string;
  readonly muted: string;
  readonly grid: string;
  /** Of curves, one an exit. */
  readonly palette: readonly string[];
  readonly font: string;
}

const chartColours = ['blue', 'orange', 'purple', 'green', 'red', 'yellow'];
/** On black the theme's own orange and purple are too dark for a thin line. */
const highContrastPalette = ['#4aa8ff', '#ffb454', '#d7a2ff', '#89d185', '#ff8a8a', '#ffe66b'];

export function readTheme(): Theme {
  const style = getComputedStyle(document.documentElement);
  const colour = (name: string, fallback: string): string =>
    style.getPropertyValue(`--vscode-${name}`).trim() || fallback;
  const foreground = colour('editor-foreground', '#888888');
  const isHighContrast = document.body.classList.contains('vscode-high-contrast');
  return {
    background: colour('editor-background', '#1e1e1e'),
    foreground,
    muted: isHighContrast ? foreground : colour('descriptionForeground', foreground),
    grid: withAlpha(foreground, isHighContrast ? 0.25 : 0.1),
    palette:
      isHighContrast && !document.body.classList.contains('vscode-high-contrast-light')
        ? highContrastPalette
        : chartColours.map((name) => colour(`charts-${name}`, foreground)),
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
export const withAlpha = (colour: string, alpha: number): string =>
  `color-mix(in srgb, ${colour} ${Math.round(100 * alpha)}%, transparent)`;
