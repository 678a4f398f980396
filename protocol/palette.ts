/**
 * The colours of exits: one table for the editor, the curves, the trace and the terminal. Early exits are cool, deep ones
 * warm, the final exit is neutral. Knows no editor and no terminal.
 */
import type { TokenRecord } from './trace.ts';

/** `text`: drafted by the text itself; `exit1` … `exit6`: exits from the first to the last; `final`: the model's own. */
export const shades = ['text', 'exit1', 'exit2', 'exit3', 'exit4', 'exit5', 'exit6', 'final'] as const;
export type Shade = (typeof shades)[number];

/** A colour for each kind of theme, as VS Code names them. */
export interface ThemeColours {
  readonly dark: string;
  readonly light: string;
  readonly highContrast: string;
  readonly highContrastLight: string;
}

export interface ShadeColours {
  /** Lines, dots, bars, and text: at least 4.5 : 1 on the background of each theme. */
  readonly mark: ThemeColours;
  /** Behind text: so little that comments keep 4.5 : 1. High contrast has none. */
  readonly tint: ThemeColours;
  /** Of the terminal's 256 colours, at least 3 : 1 on black and on white; null leaves text as it is. */
  readonly terminal: number | null;
}

const mark = (dark: string, light: string): ThemeColours => ({
  dark,
  light,
  highContrast: dark,
  highContrastLight: light,
});
const tint = (dark: string, light: string): ThemeColours => ({
  dark,
  light,
  highContrast: '#00000000',
  highContrastLight: '#00000000',
});

export const palette: Readonly<Record<Shade, ShadeColours>> = {
  text: { mark: mark('#3fd07f', '#137a43'), tint: tint('#00351099', '#89f8b873'), terminal: 28 },
  exit1: { mark: mark('#1fc7d4', '#007a8c'), tint: tint('#00313899', '#94eff873'), terminal: 30 },
  exit2: { mark: mark('#4a9dff', '#1f6fd6'), tint: tint('#002b6299', '#cae2fd73'), terminal: 33 },
  exit3: { mark: mark('#a08bff', '#6a4fe0'), tint: tint('#2606a899', '#e2dbfd73'), terminal: 99 },
  exit4: { mark: mark('#e27bef', '#b030c4'), tint: tint('#5b006799', '#f8d5fd73'), terminal: 170 },
  exit5: { mark: mark('#ff7d97', '#cf2f5f'), tint: tint('#6c001a99', '#fdd5e073'), terminal: 168 },
  exit6: { mark: mark('#ffa94d', '#b05500'), tint: tint('#4c1f0099', '#fbd9ba73'), terminal: 166 },
  final: { mark: mark('#9a9a9a', '#6e6e6e'), tint: tint('#00000000', '#00000000'), terminal: null },
};

const exitShades = shades.slice(1, -1);

/**
 * Shade of an exit among a model's exits, given in the order of the stream; `final` may be among them or not. The exits
 * spread over the whole palette, so that the first is the coolest and the last the warmest.
 */
export function exitShade(exit: string, exits: readonly string[]): Shade {
  const own = exits.filter((each) => each !== 'final');
  const place = own.indexOf(exit);
  if (place < 0) return 'final';
  const last = exitShades.length - 1;
  return exitShades[Math.round((place * last) / Math.max(1, own.length - 1))]!;
}

/** The source of a token: the exit at which it left early; else, if a draft was accepted, the exit or the text (`lookup`) that drafted it. */
export const tokenSource = ({ exit, draft }: Pick<TokenRecord, 'exit' | 'draft'>): string =>
  exit === 'final' && draft?.accepted ? draft.source : exit;

/** Source of drafts that the text itself suggests. */
export const TEXT_DRAFT = 'lookup';

export function tokenShade(token: Pick<TokenRecord, 'exit' | 'draft'>, exits: readonly string[]): Shade {
  const by = tokenSource(token);
  return by === TEXT_DRAFT ? 'text' : exitShade(by, exits);
}

/** Ids of the theme colours that a user may change. */
export const markColour = (shade: Shade): string => `earlyExit.${shade}`;
export const tintColour = (shade: Shade): string => `earlyExit.${shade}Background`;

/** Type of a shade's semantic token. */
export const tokenType = (shade: Shade): string => `earlyExit${shade[0]!.toUpperCase()}${shade.slice(1)}`;
