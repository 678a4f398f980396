/** A final head that is screened: what it says is that of the whole head, whatever is read with it. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { seededRandom } from '../../../backend/decoding/random.ts';
import { quantise, type WeightBlocks } from '../../../backend/formats/quantisation.ts';
import { canScreen } from '../../../backend/onnx/screened.ts';
import { openModel } from '../../../backend/model/open.ts';
import type { Parameters } from '../../../backend/model/parameters.ts';
import { openExitReader, type ExitReader } from '../../../backend/runtime/exit-reader.ts';
import type { Readout } from '../../../backend/runtime/staged-model.ts';
import { shippedModel } from '../../support/golden.ts';

const [vocabulary, hidden, tokens] = [65_536, 128, 9];

/** About normal, deviation 1. */
const noise = (length: number, seed: number): Float32Array => {
  const random = seededRandom(seed);
  return Float32Array.from({ length }, () => 2 * (random() + random() + random()) - 3);
};

const weight = noise(vocabulary * hidden, 1);
/** Streams that point at some row more than at the others, as those of a model do. */
const stream = noise(tokens * hidden, 2).map((value, i) => {
  const [token, column] = [Math.trunc(i / hidden), i % hidden];
  return value + 0.3 * weight[(7919 * token + 5) * hidden + column]!;
});

const whole = quantise(weight);
const stored = weight.map((_, i) => whole.scales[i >> 5]! * (whole.quants[i]! - 128));

/** A final norm of ones and a head, in these blocks. */
const parameters = (blocks: WeightBlocks): Parameters => ({
  has: (name) => name.endsWith('.weight'),
  shape: (name) => (name === 'norm.weight' ? [hidden] : [vocabulary, hidden]),
  values: (name) => (name === 'norm.weight' ? new Float32Array(hidden).fill(1) : stored),
  rows: () => stored,
  blockForm: () => blocks,
  blocks: () => blocks,
  storedType: () => null,
  stored: () => {
    throw new Error('not stored');
  },
});

/** The same values in blocks of 16 with scales of both signs, as those of Q6_K. */
const narrow: WeightBlocks = {
  ...whole,
  blockSize: 16,
  scales: Float32Array.from({ length: 2 * whole.scales.length }, (_, i) => (i % 3 ? 1 : -1) * whole.scales[i >> 1]!),
  quants: whole.quants.map((q, i) => ((i >> 4) % 3 ? q : 256 - q)),
};

async function open(blocks: WeightBlocks, arithmetic: 'float32' | 'int8'): Promise<ExitReader> {
  const model = openModel(shippedModel);
  const spec = { ...model.spec, vocabulary, hidden };
  model.close();
  return openExitReader(spec, parameters(blocks), null, { arithmetic, provider: 'cpu' }, {});
}

const read = (
  reader: ExitReader,
  logits = false,
  [from, to] = [0, tokens],
): Promise<{ readouts: Readout[]; logits: Float32Array | null }> =>
  reader.read({ stream: { data: stream.slice(from * hidden, to * hidden), shape: [1, to - from, hidden] } }, logits);

let exact: { readouts: Readout[]; logits: Float32Array | null };
let screened: ExitReader;

beforeAll(async () => {
  const reader = await open(whole, 'float32');
  exact = await read(reader, true);
  await reader.dispose();
  screened = await open(whole, 'int8');
});
afterAll(() => screened.dispose());

test.each([
  ['blocks of 32', whole],
  ['blocks of 16 with negative scales', narrow],
] as const)('%s: the best tokens are those of the exact head, their probabilities near', async (_, blocks) => {
  expect(canScreen(parameters(blocks), 'lm_head')).toBe(true);
  const reader = await open(blocks, 'int8');
  const { readouts, logits } = await read(reader);
  await reader.dispose();
  expect(logits).toBeNull();
  for (const [i, { token, confidence, candidates, entropy }] of readouts.entries()) {
    const wanted = exact.readouts[i]!;
    expect(token).toBe(wanted.token);
    expect(candidates.map(({ id }) => id)).toEqual(wanted.candidates.map(({ id }) => id));
    expect(Math.abs(confidence / wanted.confidence - 1)).toBeLessThan(0.05);
    expect(Math.abs(entropy - wanted.entropy)).toBeLessThan(0.1);
  }
});

test('a position has the same bits whatever is read with it', async () => {
  const together = (await read(screened)).readouts;
  for (const at of together.keys())
    expect((await read(screened, false, [at, at + 1])).readouts).toEqual([together[at]]);
});

test('rows of logits are those of the whole head: none is rough', async () => {
  const { logits } = await read(screened, true);
  const differences = logits!.map((logit, i) => logit - exact.logits![i]!);
  const spread = Math.hypot(...exact.logits!.subarray(0, vocabulary)) / Math.sqrt(vocabulary);
  const off = Math.hypot(...differences.subarray(0, vocabulary)) / Math.sqrt(vocabulary);
  // Rounding activations to 8 bits; a weight in 4 bits would be ten times as far off.
  expect(off).toBeLessThan(0.015 * spread);
});

test('a head that is small, in 4 bits, with minima or with a bias is not screened', () => {
  expect(canScreen({ ...parameters(whole), shape: () => [32_768, hidden] }, 'lm_head')).toBe(false);
  expect(canScreen(parameters({ ...whole, bits: 4, zeroPoint: 8 }), 'lm_head')).toBe(false);
  expect(canScreen(parameters({ ...whole, zeroPoint: 0 }), 'lm_head')).toBe(false);
  expect(canScreen({ ...parameters(whole), has: () => true }, 'lm_head')).toBe(false);
});
