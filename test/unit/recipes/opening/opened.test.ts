/** A checkpoint of the right model whose numbers do not fit it: refused before a graph is built of them. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { createCheckpoint } from '../../../../backend/checkpoint/writer.ts';
import { exitParameters } from '../../../../backend/exits/parameters.ts';
import type { ExitSpec } from '../../../../backend/exits/spec.ts';
import { openGenerator, closeGenerators } from '../../../../backend/recipes/opening/generator.ts';
import { identify, readExits } from '../../../../backend/recipes/opening/opened.ts';
import { parseOptions } from '../../../../protocol/options/options.ts';
import { shippedModel } from '../../../support/golden.ts';
import { tinyModel } from '../../../support/models.ts';
import { temporaryFolder } from '../../formats/fixtures.ts';

const model = tinyModel();
afterAll(() => model.close());
const exit: ExitSpec = { layer: 2, architecture: 'norm', head: { kind: 'own' } };
const right = new Map(exitParameters(model.spec, exit, model.parameters).map(({ name, shape }) => [name, shape]));

async function checkpoint(
  shapes: ReadonlyMap<string, readonly number[]>,
  calibration: unknown = null,
): Promise<string> {
  const directory = join(temporaryFolder(), 'my.exits');
  const zeros = new Map([...shapes].map(([name, shape]) => [name, new Float32Array(shape.reduce((a, b) => a * b))]));
  createCheckpoint(directory, {
    info: { base: await identify(model), exits: [exit], tuning: {}, calibration: null },
    shapes,
    state: { updates: 0, parameters: zeros, firstMoments: zeros, secondMoments: zeros },
    progress: { step: 0, tokens: 0, scores: [] },
    position: { step: 0, windows: 0, tokens: 0, seconds: 0, best: null, before: [], data: '', finished: false },
    metrics: [],
  }).close();
  const file = join(directory, 'exits.json');
  writeFileSync(file, JSON.stringify({ ...(JSON.parse(readFileSync(file, 'utf8')) as object), calibration }));
  return directory;
}

describe('readExits', () => {
  it('takes what fits', async () => {
    expect((await readExits(await checkpoint(right), { model })).parameters.size).toBe(right.size);
  });

  it.each<[string, [string, readonly number[]][], RegExp]>([
    ['of another shape', [['exits.2.norm.head.weight', [model.spec.hidden, model.spec.vocabulary]]], /has the shape/],
    ['of another width', [['exits.2.norm.norm.weight', [model.spec.hidden + 1]]], /"exits.2.norm.norm.weight" has the/],
    ['that it does not know', [['exits.2.norm.attic', [1]]], /unknown parameter "exits.2.norm.attic"/],
  ])('refuses parameters %s', async (_, changed, message) => {
    const directory = await checkpoint(new Map([...right, ...changed]));
    const failed = readExits(directory, { model });
    await expect(failed).rejects.toMatchObject({ code: 'bad-checkpoint' });
    await expect(failed).rejects.toThrow(message);
    await expect(failed).rejects.toThrow(directory);
  });

  it('refuses a gate of another width than the stream', async () => {
    const weights = Buffer.from(new Float32Array(model.spec.hidden - 1).buffer).toString('base64');
    const gates = { '2:norm': { weights, bias: 0, least: 0.5 } };
    const directory = await checkpoint(right, { step: 0, agreement: 1, thresholds: {}, gates });
    await expect(readExits(directory, { model })).rejects.toThrow(
      `${join(directory, 'exits.json')}: the gate of exit 2:norm is not ${model.spec.hidden} wide.`,
    );
  });
});

it('a generator says that it wants the folder where the file in it is named', async () => {
  const exits = join(await checkpoint(right), 'exits.json');
  const options = parseOptions('generate', { model: shippedModel, prompt: ['x'], exits, device: 'cpu' });
  const failed = openGenerator(options, new AbortController().signal);
  await expect(failed).rejects.toThrow(`${exits} is a file, not a folder of exits.`);
  await closeGenerators();
});
