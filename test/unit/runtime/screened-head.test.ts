/** A head that is screened in ggml says what the exact one says, with the same bits in every pass, and only where it may. */
import { mkdtempSync, readdirSync, rmSync, statSync, truncateSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import type { ExitSpec } from '../../../backend/exits/spec.ts';
import { toHalf } from '../../../backend/formats/halves.ts';
import { quantiseBlocks } from '../../../backend/formats/quantise-blocks.ts';
import { libraryFolder } from '../../../backend/ggml/packages.ts';
import type { Processor } from '../../../backend/ggml/processor.ts';
import { screenOf } from '../../../backend/ggml/ops/screened.ts';
import { openModel, type Model } from '../../../backend/model/open.ts';
import { processorOf } from '../../../backend/runtime/ggml/runtime.ts';
import { noExits, openStagedModel, type RuntimeOptions } from '../../../backend/runtime/open.ts';
import type { Readout, RowReadout, Slots, StagedModel } from '../../../backend/runtime/staged-model.ts';
import { randomBlocks } from '../../support/blocks.ts';
import { fixtures } from '../../support/golden.ts';
import { copiedExits } from '../../support/models.ts';
import { random } from '../../support/random.ts';

const cache = mkdtempSync(join(tmpdir(), 'early-exit-'));
beforeAll(() => void vi.stubEnv('EARLY_EXIT_CACHE', cache));
afterAll(() => {
  vi.unstubAllEnvs();
  rmSync(cache, { recursive: true });
});

const hasGgml = libraryFolder() !== null;
type Stored = 'Q8_0' | 'Q6_K' | 'F16';

/** About normal. A head draws its numbers from these, since millions of them would take seconds to make. */
const next = random(5);
const noise = Float32Array.from({ length: 2 ** 16 }, () => 0.05 * (next() + next() + next() - 1.5));
const halves = Uint16Array.from(noise, toHalf);

function drawn<T extends Float32Array | Uint16Array>(from: T, into: T): T {
  for (let i = 0; i < into.length; i++) into[i] = from[Math.floor(next() * from.length)]!;
  return into;
}

function storedHead(type: Stored, count: number): Uint8Array {
  if (type === 'Q6_K') {
    const blocks = randomBlocks(type, count);
    // Small scales, whose logits leave the best rows rivals.
    for (let at = 209; at < blocks.length; at += 210) blocks[at] = 0x04;
    return blocks;
  }
  return type === 'Q8_0'
    ? quantiseBlocks(type, drawn(noise, new Float32Array(count)))
    : new Uint8Array(drawn(halves, new Uint16Array(count)).buffer);
}

/** A tiny model with a head of 2²³ numbers. */
function withLargeHead(file: string, type: Stored): Model {
  const model = openModel(join(fixtures, 'gguf', file));
  const { hidden } = model.spec;
  const vocabulary = 2 ** 23 / hidden;
  const stored = storedHead(type, vocabulary * hidden);
  const { parameters } = model;
  const isHead = (name: string): boolean => name === 'lm_head.weight';
  return {
    ...model,
    spec: { ...model.spec, vocabulary, tied: false },
    parameters: {
      ...parameters,
      shape: (name) => (isHead(name) ? [vocabulary, hidden] : parameters.shape(name)),
      storedType: (name) => (isHead(name) ? type : parameters.storedType(name)),
      stored: (name, allocate) => (isHead(name) ? stored : parameters.stored(name, allocate)),
    },
  };
}

const tokens = 40;
const ids = Array.from({ length: tokens }, (_, i) => (i * 31 + 7) % 60);

async function filled(staged: StagedModel, rows = 1): Promise<Slots> {
  const slots = staged.openSlots(rows);
  const counts = Array.from({ length: rows }, (_, row) => tokens - row);
  for (const [row, count] of counts.entries()) slots.enter(row, ids.slice(0, count));
  for (const stage of staged.stages.keys()) await slots.run(stage, counts);
  return slots;
}

const final = (staged: StagedModel): number => staged.exits.length - 1;

async function readLast(staged: StagedModel, count: number, exit = final(staged), logits = false): Promise<RowReadout> {
  const slots = await filled(staged);
  const [results] = await slots.read(exit, [0], [count], { logits });
  slots.dispose();
  return results!;
}

const near = (one: Readout, other: Readout): void => {
  expect(one.token).toBe(other.token);
  expect(one.candidates.map(({ id }) => id)).toEqual(other.candidates.map(({ id }) => id));
  expect(Math.abs(Math.log(one.confidence / other.confidence))).toBeLessThan(0.05);
  expect(Math.abs(one.margin - other.margin)).toBeLessThan(0.01);
  expect(Math.abs(one.entropy - other.entropy)).toBeLessThan(0.1);
  // The logits of the best are the exact ones, so their differences are.
  const [first, second] = [one, other].map(({ candidates }) =>
    Math.log(candidates[0]!.probability / candidates[1]!.probability),
  );
  expect(Math.abs(first! - second!)).toBeLessThan(1e-5);
};

const shared: ExitSpec = { layer: 1, architecture: 'norm', head: { kind: 'shared' } };
const cpu = (): Processor => processorOf({});

describe.skipIf(!hasGgml).each([
  ['llama-q8_0.gguf', 'Q8_0'],
  ['llama-q8_0.gguf', 'F16'],
  ['llama-q6_k.gguf', 'Q6_K'],
  ['gemma2-q8_0.gguf', 'Q8_0'],
] as const)('%s with a head in %s', (file, type) => {
  const model = withLargeHead(file, type);
  const open = (options: RuntimeOptions = {}): Promise<StagedModel> =>
    openStagedModel(model, copiedExits(model, [shared]), { arithmetic: 'int8', ...options });
  const screens = hasGgml && screenOf(cpu(), model.parameters, 'lm_head') !== null;
  let [exact, screened]: StagedModel[] = [];
  beforeAll(async () => ([exact, screened] = [await open({ head: 'exact' }), await open()]));
  afterAll(async () => {
    await exact!.dispose();
    await screened!.dispose();
    model.close();
  });

  test.runIf(screens).each([0, 1])('exit %i says what it says by the exact head', async (exit) => {
    const [whole, rough] = [await readLast(exact!, tokens, exit), await readLast(screened!, tokens, exit)];
    expect(rough.readouts).not.toEqual(whole.readouts);
    for (const [i, readout] of rough.readouts.entries()) near(readout, whole.readouts[i]!);
  });

  test('a position has the same bits whatever is read with it', async () => {
    const together = (await readLast(screened!, tokens)).readouts;
    for (const count of [1, 2, 3, 5, 8, 16, 33])
      expect((await readLast(screened!, count)).readouts).toEqual(together.slice(-count));
    const batch = await filled(screened!, 3);
    const results = await batch.read(1, [2, 0, 1], [1, 3, 2], { logits: false });
    const upTo = (row: number, count: number): Readout[] => together.slice(tokens - row - count, tokens - row);
    expect(results.map(({ readouts }) => readouts)).toEqual([upTo(2, 1), upTo(0, 3), upTo(1, 2)]);
    batch.dispose();
  });

  test('where logits are asked for, all is of the exact head', async () => {
    const [whole, rough] = [await readLast(exact!, 3, 1, true), await readLast(screened!, 3, 1, true)];
    expect(rough.readouts).toEqual(whole.readouts);
    expect(Buffer.from(rough.logits!.buffer).equals(Buffer.from(whole.logits!.buffer))).toBe(true);
  });

  test.runIf(screens)('its copy is kept, and made again where what is kept is not whole', async () => {
    const { readouts } = await readLast(screened!, 1);
    const heads = join(cache, 'heads');
    const files = readdirSync(heads)
      .map((name) => join(heads, name))
      .filter((file) => statSync(file).size > 100);
    const sizes = files.map((file) => statSync(file).size);
    for (const file of files) truncateSync(file, 100);
    const again = await openStagedModel({ ...model }, noExits, { arithmetic: 'int8' });
    expect((await readLast(again, 1, 0)).readouts).toEqual(readouts);
    await again.dispose();
    expect(files.filter((file, i) => statSync(file).size === sizes[i])).toHaveLength(1);
  });

  test('with precision exact the head is exact', async () => {
    const staged = await open({ arithmetic: 'float32' });
    expect((await readLast(staged, 3)).readouts).toEqual((await readLast(staged, 3, 1, true)).readouts);
    await staged.dispose();
  });
});

describe.skipIf(!hasGgml)('not screened', () => {
  const model = withLargeHead('llama-q8_0.gguf', 'Q8_0');
  const { parameters } = model;
  afterAll(() => model.close());

  test.each([
    ['small', { ...parameters, shape: () => [2 ** 16, 64] }],
    ['of rows that are no blocks', { ...parameters, shape: () => [2 ** 17 + 1, 64] }],
    ['in few bits', { ...parameters, storedType: () => 'Q4_0' as const }],
    ['held in memory', { ...parameters, storedType: () => null }],
    ['with a bias', { ...parameters, has: () => true }],
  ])('a head that is %s', (_, changed) => expect(screenOf(cpu(), changed, 'lm_head')).toBeNull());

  test('a head on a card', () => expect(screenOf({ ...cpu(), isGpu: true }, parameters, 'lm_head')).toBeNull());
});
