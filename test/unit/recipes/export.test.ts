/** `export` and `import` as commands: what was exported comes back as it was, and models that were trained to leave early are taken. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, test } from 'vitest';
import { createCheckpoint } from '../../../backend/checkpoint/writer.ts';
import { loadTokenizer } from '../../../backend/data/tokenizer/tokenizer.ts';
import { exitId, exitPath, type ExitSpec } from '../../../backend/exits/spec.ts';
import { bytesOf } from '../../../backend/formats/safetensors.ts';
import { openModel, type Model } from '../../../backend/model/open.ts';
import { exportExit } from '../../../backend/recipes/export.ts';
import { importExits } from '../../../backend/recipes/import.ts';
import { identify, readExits, type OpenedExits } from '../../../backend/recipes/opening/opened.ts';
import type { ExportEvent } from '../../../protocol/events.ts';
import { parseOptions } from '../../../protocol/options/options.ts';
import { shippedModel } from '../../support/golden.ts';
import { hasLlama, openLlama } from '../../support/llama.ts';
import { copiedExits } from '../../support/models.ts';
import { temporaryFolder } from '../formats/fixtures.ts';

const signal = new AbortController().signal;
const specs: readonly ExitSpec[] = [
  { layer: 4, architecture: 'mlp', head: { kind: 'shared' } },
  { layer: 6, architecture: 'layer', head: { kind: 'shared' } },
  { layer: 8, architecture: 'norm', head: { kind: 'own' } },
  { layer: 8, architecture: 'lens', head: { kind: 'shared' } },
];
const folder = mkdtempSync(join(tmpdir(), 'early-exit-'));
const tuned = join(folder, 'tuned.exits');
const model = openModel(shippedModel);

/** Copies that were moved: `x · 1.5`, which float32 keeps exactly. */
async function tune(base: Model, exits: readonly ExitSpec[], out: string): Promise<void> {
  const { parameters } = copiedExits(base, exits);
  const values = new Map([...parameters].map(([name, { data }]) => [name, data.map((value) => value * 1.5)]));
  const zeros = new Map([...values].map(([name, data]) => [name, new Float32Array(data.length)]));
  const scores = [
    { exit: '4:mlp', layer: 4, loss: 3.25, perplexity: 25.8, accuracy: 0.4, agreement: 0.625 },
    { exit: 'final', layer: 12, loss: 2.5, perplexity: 12.2, accuracy: 0.5, agreement: 1 },
  ];
  createCheckpoint(out, {
    info: {
      base: await identify(base),
      exits: [...exits],
      tuning: { data: ['/home/me/code.jsonl'] },
      calibration: null,
    },
    shapes: new Map([...parameters].map(([name, { shape }]) => [name, shape])),
    state: { updates: 1, parameters: values, firstMoments: zeros, secondMoments: zeros },
    progress: { step: 1, tokens: 4096, scores },
    position: { step: 1, windows: 1, tokens: 4096, seconds: 1, best: null, before: [], data: '', finished: true },
    metrics: [],
  }).close();
}

beforeAll(() => tune(model, specs, tuned));

afterAll(() => {
  model.close();
  rmSync(folder, { recursive: true });
});

async function all(events: AsyncIterable<ExportEvent>): Promise<ExportEvent[]> {
  const list: ExportEvent[] = [];
  for await (const event of events) list.push(event);
  return list;
}

async function exported(exit: string, format: 'hf' | 'gguf', more: Record<string, unknown> = {}): Promise<string> {
  const out = join(temporaryFolder(), 'plain');
  await all(
    exportExit(parseOptions('export', { model: shippedModel, exits: tuned, exit, format, out, ...more }), signal),
  );
  return format === 'gguf' ? join(out, `typescript-5m-exit-${exit.replace(':', '-')}.gguf`) : out;
}

interface Imported {
  readonly exits: OpenedExits;
  readonly warnings: readonly string[];
  readonly notes: readonly string[];
}

async function imported(given: Record<string, unknown>): Promise<Imported> {
  const out = join(temporaryFolder(), 'back.exits');
  const events = await all(importExits(parseOptions('import', { model: shippedModel, out, ...given }), signal));
  const warnings = events.flatMap((event) => (event.type === 'warning' ? [event.message] : []));
  const notes = events.flatMap((event) => (event.type === 'note' ? [event.message] : []));
  return { exits: await readExits(out, { model }), warnings, notes };
}

describe.each(['hf', 'gguf'] as const)('import(export(exit)) by way of %s', (format) => {
  it.each(specs.slice(0, 3).map((exit) => [exitId(exit), exit] as const))(
    '%s has the bits that it had',
    async (id, exit) => {
      const { exits, warnings } = await imported({ from: await exported(id, format) });
      expect(exits.specs).toEqual([exit]);
      expect(warnings).toEqual([]);
      const before = await readExits(tuned, { model });
      const names = [...before.parameters.keys()].filter((name) => name.startsWith(`${exitPath(exit)}.`));
      expect([...exits.parameters.keys()].sort()).toEqual(names.sort());
      for (const name of names) {
        const [was, is] = [before, exits].map(({ parameters }) => Buffer.from(bytesOf(parameters.get(name)!.data)));
        expect([name, is!.equals(was!)]).toEqual([name, true]);
      }
    },
  );

  test('a lens comes back with its translator in a head of its own, and says so', async () => {
    const { exits, warnings } = await imported({ from: await exported('8:lens', format) });
    expect(exits.specs).toEqual([{ layer: 8, architecture: 'norm', head: { kind: 'own' } }]);
    expect(warnings).toEqual([
      expect.stringMatching(/come back as 8:norm with a head of its own, which predicts the same/),
    ]);
    // The shared head times 1.5, which is what the translator multiplies with.
    const head = exits.parameters.get('exits.8.norm.head.weight')!.data;
    const shared = model.parameters.values('lm_head.weight');
    expect(Math.max(...head.slice(0, 999).map((value, i) => Math.abs(value - 1.5 * shared[i]!)))).toBeLessThan(1e-6);
  });
});

test('blocks come back with their rounding, which is said', async () => {
  const { warnings } = await imported({ from: await exported('4:mlp', 'gguf', { quantize: 'q8_0' }) });
  expect(warnings).toEqual(['Its matrices have the rounding of Q8_0.']);
});

test('of a base in blocks it is said how large the exit is in 32 bits, and what makes it smaller', async () => {
  const base = await exported('8:norm', 'gguf', { quantize: 'q8_0' });
  const blocks = openModel(base);
  const exits = join(temporaryFolder(), 'blocks.exits');
  await tune(blocks, [{ layer: 4, architecture: 'norm', head: { kind: 'own' } }], exits);
  blocks.close();
  const warnings = async (exit: string, quantize: string) => {
    const out = join(temporaryFolder(), 'plain');
    const events = await all(exportExit(parseOptions('export', { model: base, exits, exit, quantize, out }), signal));
    return events.flatMap((event) => (event.type === 'warning' ? [event.message] : []));
  };
  const { vocabulary, hidden } = model.spec;
  expect(await warnings('4:norm', 'none')).toEqual([
    `The exit's own matrices are ${Math.round((4 * vocabulary * hidden) / 1e6)} MB in 32 bits: --quantize q8_0 makes them a quarter of that.`,
  ]);
  expect(await warnings('4:norm', 'q8_0')).toEqual([]);
});

test('a model that is no exit of this base is refused', async () => {
  const plain = await exported('4:mlp', 'hf');
  const out = join(temporaryFolder(), 'x.exits');
  const options = (given: object) => parseOptions('import', { model: shippedModel, out, ...given });
  await expect(all(importExits(options({ model: plain, from: plain }), signal))).rejects.toThrow(
    /exit of another model/,
  );
  await expect(all(importExits(options({ from: shippedModel }), signal))).rejects.toThrow(/does not say which exit/);
});

test('a model that was trained to leave early has exits without parameters of their own', async () => {
  const { exits } = await imported({ layers: '3,6' });
  expect(exits.specs.map(exitId)).toEqual(['3:norm', '6:norm']);
  expect(exits.specs.map(({ head }) => head.kind)).toEqual(['shared', 'shared']);
  for (const { data } of exits.parameters.values()) expect(data).toEqual(model.parameters.values('norm.weight'));
});

test('import measures how often exits agree, and says where a model was never trained to leave', async () => {
  const { warnings, notes } = await imported({ layers: '2' });
  expect(notes).toEqual([
    expect.stringMatching(
      /^These exits predict the full model's token: 2:norm on \d+ %, of \d+ tokens that it wrote\.$/,
    ),
  ]);
  expect(warnings).toEqual([
    'typescript-5m was never trained to leave early: its own head finds too little there. early-exit tune makes exits for it.',
  ]);
});

test('the card names base, licence, data and losses, and a draft its commands', async () => {
  const read = (path: string): string => readFileSync(path, 'utf8');
  const card = read(join(await exported('4:mlp', 'hf'), 'README.md'));
  expect(card).toMatch(/^---\nlicense: apache-2.0\n/);
  expect(card).toContain('Data: `code.jsonl`, of which the exit saw 4,096 tokens.');
  expect(card).toContain("the exit's loss is 3.250 nats a token, the base's 2.500; they agree on 62.5 %");
  expect(card).not.toContain('/home/me');
  expect(read(join(await exported('4:mlp', 'hf', { as: 'draft' }), 'README.md'))).toContain(
    '"method": "draft_model", "model": "./plain"',
  );
  const file = await exported('4:mlp', 'gguf', { as: 'draft' });
  expect(read(join(file, '../README.md'))).toContain(
    'llama-server -m typescript-5m.gguf -md typescript-5m-exit-4-mlp.gguf --spec-type draft-simple',
  );
});

test.skipIf(!hasLlama())('a draft has the tokens of its base, as llama.cpp asks of one', async () => {
  const draft = openLlama(await exported('4:mlp', 'gguf', { as: 'draft' }));
  const base = loadTokenizer(shippedModel);
  for (const text of ['export function add(a: number) {', '  return 12345;\n', '<|endoftext|>'])
    expect(draft.tokenize(text, true)).toEqual(base.encode(text));
});
