/** Sizes as people read them. */

/** 13.5 GB, 820 MB. */
export function bytesText(bytes: number): string {
  for (const [unit, factor] of [
    ['GB', 1e9],
    ['MB', 1e6],
    ['kB', 1e3],
  ] as const)
    if (bytes >= factor) return `${figure(bytes / factor)} ${unit}`;
  return `${bytes} B`;
}

/** Two digits at least, none behind the point of a hundred and more. */
export const figure = (value: number): string =>
  value >= 100 ? value.toFixed(0) : value >= 1 ? value.toFixed(1) : value.toPrecision(2);
