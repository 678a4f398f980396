/** The name of a run: model, exits, length, data, and a number if another run has the same name. Knows no `vscode`. */

export interface RunTitleParts {
  readonly model: string;
  /** As given, such as `8,10` or `auto:mlp`; null for the three of `auto`. */
  readonly exits: string | null;
  readonly preset: string;
  /** Updates or minutes, if they are given instead of a preset's minutes; updates come first. */
  readonly steps: number | null;
  readonly minutes: number | null;
  /** Name of the folder, or the globs. */
  readonly data: string;
}

export function runTitle(parts: RunTitleParts, taken: readonly string[]): string {
  const { model, exits, data } = parts;
  const length = lengthText(parts);
  const three = exits === null ? '3 exits' : exits.replace(/^auto:/, '3 × ');
  const title = [model, three, length, data].join(' · ');
  if (!taken.includes(title)) return title;
  for (let n = 2; ; n++) {
    const numbered = `${title} (${n})`;
    if (!taken.includes(numbered)) return numbered;
  }
}

function lengthText({ preset, steps, minutes }: RunTitleParts): string {
  if (steps !== null) return counted(steps, 'step');
  return minutes === null ? preset : counted(minutes, 'minute');
}

const counted = (value: number, unit: string): string => `${value} ${unit}${value === 1 ? '' : 's'}`;
