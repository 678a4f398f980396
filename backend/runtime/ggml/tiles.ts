/**
 * Tokens that entered 32 or more at a time use products by fours, from 64 on also tiled attention, whatever pass runs them later; all others
 * use the reference kernels. So the bits of a token depend on the text and on how it was entered, not on the pass. Counters only, no
 * tensors.
 */

/** By which kernels a token is computed: one by one, products by fours, or these and attention in tiles. */
export type Kernels = 'single' | 'fours' | 'tiles';

/** From this many on products by fours are faster, with the last four filled up; fewer are computed as if they had come one by one. */
export const fourTokens = 32;
/** From this many on ggml's attention sums in tiles: `ggml_fa_tile_config::Q`. */
export const tileTokens = 64;

const kernelsOf = (count: number): Kernels =>
  count >= tileTokens ? 'tiles' : count >= fourTokens ? 'fours' : 'single';

/** Of each row, what came at once: from, to (exclusive), in order. */
export type Tiles = { readonly from: number; readonly to: number; readonly kernels: Kernels }[][];

export const newTiles = (rows: number): Tiles => Array.from({ length: rows }, () => []);

export function enterTiles(tiles: Tiles, row: number, start: number, count: number): void {
  const kernels = kernelsOf(count);
  if (kernels !== 'single') tiles[row]!.push({ from: start, to: start + count, kernels });
}

export function truncateTiles(tiles: Tiles, row: number, position: number): void {
  tiles[row] = tiles[row]!.filter(({ from }) => from < position).map((each) => ({
    ...each,
    to: Math.min(each.to, position),
  }));
}

export interface PassPart {
  readonly counts: readonly number[];
  readonly kernels: Kernels;
}

/** A pass of `counts[row]` tokens from `starts[row]` on as passes of one kind each, in order. */
export function partsOf(tiles: Tiles, starts: readonly number[], counts: readonly number[]): PassPart[] {
  const parts: PassPart[] = [];
  const done = counts.map(() => 0);
  for (;;) {
    const next = counts.map((count, row) => nextOf(tiles[row]!, starts[row]! + done[row]!, count - done[row]!));
    const first = next.find(({ count }) => count > 0);
    if (first === undefined) return parts;
    const taken = next.map(({ count, kernels }) => (kernels === first.kernels ? count : 0));
    parts.push({ counts: taken, kernels: first.kernels });
    for (const [row, count] of taken.entries()) done[row]! += count;
  }
}

/** How many of the next `most` tokens of a row are of one kind, and which. */
function nextOf(tiles: Tiles[number], at: number, most: number): { count: number; kernels: Kernels } {
  const own = tiles.find(({ from, to }) => from <= at && at < to);
  const end = own ? own.to : (tiles.find(({ from }) => from > at)?.from ?? Infinity);
  return { count: Math.min(most, end - at), kernels: own?.kernels ?? 'single' };
}
