import { expect, test } from 'vitest';
import {
  enterTiles,
  newTiles,
  partsOf,
  tileTokens,
  truncateTiles,
  type Kernels,
} from '../../../../backend/runtime/ggml/tiles.ts';

test('a pass is cut where what came at once begins and ends, the same for every way in which passes are cut', () => {
  const tiles = newTiles(1);
  enterTiles(tiles, 0, 0, tileTokens - 1);
  enterTiles(tiles, 0, 63, 100);
  enterTiles(tiles, 0, 163, 1);
  expect(partsOf(tiles, [0], [164])).toEqual([
    { counts: [63], kernels: 'fours' },
    { counts: [100], kernels: 'tiles' },
    { counts: [1], kernels: 'single' },
  ]);
  const kinds = (size: number): Kernels[] =>
    Array.from({ length: Math.ceil(164 / size) }, (_, i) => i * size).flatMap((start) =>
      partsOf(tiles, [start], [Math.min(size, 164 - start)]).flatMap(({ counts, kernels }) =>
        Array.from({ length: counts[0]! }, () => kernels),
      ),
    );
  for (const size of [1, 7, 64, 90]) expect(kinds(size)).toEqual(kinds(164));
});

test('rows of one kind go together, and a row that has nothing to do goes with none', () => {
  const tiles = newTiles(3);
  enterTiles(tiles, 0, 0, 70);
  enterTiles(tiles, 1, 0, 3);
  enterTiles(tiles, 2, 0, 80);
  expect(partsOf(tiles, [0, 0, 0], [70, 3, 0])).toEqual([
    { counts: [70, 0, 0], kernels: 'tiles' },
    { counts: [0, 3, 0], kernels: 'single' },
  ]);
  expect(partsOf(tiles, [0, 0, 0], [70, 0, 80])).toEqual([{ counts: [70, 0, 80], kernels: 'tiles' }]);
  expect(partsOf(tiles, [0, 0, 0], [0, 0, 0])).toEqual([]);
});

test('what is taken back is of no kind', () => {
  const tiles = newTiles(1);
  enterTiles(tiles, 0, 0, 70);
  truncateTiles(tiles, 0, 10);
  enterTiles(tiles, 0, 10, 5);
  expect(partsOf(tiles, [0], [15])).toEqual([
    { counts: [10], kernels: 'tiles' },
    { counts: [5], kernels: 'single' },
  ]);
  truncateTiles(tiles, 0, 0);
  expect(partsOf(tiles, [0], [4])).toEqual([{ counts: [4], kernels: 'single' }]);
});
