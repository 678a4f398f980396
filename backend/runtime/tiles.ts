/**
 * Tokens that entered 64 or more at a time use tiled attention and products by fours, whatever pass runs them later; all others use the
 * reference kernels. So the bits of a token depend on the text and on how it was entered, not on the pass. Counters only, no tensors.
 */

/** From this many on ggml sums in tiles: `ggml_fa_tile_config::Q`. */
export const tileTokens = 64;

/** Of each row, what came at once: from, to (exclusive), in order. */
export type Tiles = { readonly from: number; readonly to: number }[][];

export const newTiles = (rows: number): Tiles => Array.from({ length: rows }, () => []);

export function enterTiles(tiles: Tiles, row: number, start: number, count: number): void {
  if (count >= tileTokens) tiles[row]!.push({ from: start, to: start + count });
}

export function truncateTiles(tiles: Tiles, row: number, position: number): void {
  tiles[row] = tiles[row]!.filter(({ from }) => from < position).map(({ from, to }) => ({
    from,
    to: Math.min(to, position),
  }));
}

export interface PassPart {
  readonly counts: readonly number[];
  readonly isTiled: boolean;
}

/** A pass of `counts[row]` tokens from `starts[row]` on as passes of one kind each, in order. */
export function partsOf(tiles: Tiles, starts: readonly number[], counts: readonly number[]): PassPart[] {
  const parts: PassPart[] = [];
  const done = counts.map(() => 0);
  for (;;) {
    const next = counts.map((count, row) => nextOf(tiles[row]!, starts[row]! + done[row]!, count - done[row]!));
    const first = next.find(({ count }) => count > 0);
    if (first === undefined) return parts;
    const taken = next.map(({ count, isTiled }) => (isTiled === first.isTiled ? count : 0));
    parts.push({ counts: taken, isTiled: first.isTiled });
    for (const [row, count] of taken.entries()) done[row]! += count;
  }
}

/** How many of the next `most` tokens of a row are of one kind, and which. */
function nextOf(tiles: Tiles[number], at: number, most: number): { count: number; isTiled: boolean } {
  const own = tiles.find(({ from, to }) => from <= at && at < to);
  const end = own ? own.to : (tiles.find(({ from }) => from > at)?.from ?? Infinity);
  return { count: Math.min(most, end - at), isTiled: own !== undefined };
}
