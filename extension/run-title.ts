/** The name of a run: model, exits, length, data, and a number if another run has the same name. Knows no `vscode`. */

export interface RunTitleParts {
  readonly model: string;
  /** As given, such as `8,10` or `auto:mlp`; null for the three of `auto`. */
  readonly exits: string | null;
  readonly preset: string;
  /** Updates, if they are given instead of a preset's minutes. */
  readonly steps: number | null;
  /** Name of the folder, or the globs. */
  readonly data: string;
}

export function runTitle({ model, exits, preset, steps, data }: RunTitleParts, taken: readonly string[]): string {
  const length = steps === null ? preset : `${steps} ${steps === 1 ? 'step' : 'steps'}`;
  const three = exits === null ? '3 exits' : exits.replace(/^auto:/, '3 × ');
  const title = [model, three, length, data].join(' · ');
  if (!taken.includes(title)) return title;
  for (let n = 2; ; n++) {
    const numbered = `${title} (${n})`;
    if (!taken.includes(numbered)) return numbered;
  }
}
