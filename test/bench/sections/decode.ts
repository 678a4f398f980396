/**
 * Decoding at full depth: beside llama.cpp on the same GGUF, one sequence; and our own over prompts and batches. `exact` is our
 * default, float32 activations; `fast` rounds activations to 8 bits, as llama.cpp does.
 */
import path from 'node:path';
import { loadTokenizer, type Tokenizer } from '../../../backend/data/tokenizer.ts';
import { openModel, type Model } from '../../../backend/model/open.ts';
import { noExits, openStagedModel } from '../../../backend/runtime/open.ts';
import type { Decoder } from '../contestants/decoder.ts';
import { installLlama, llamaDecoder, llamaVersion } from '../contestants/llama.ts';
import { ourDecoder } from '../contestants/ours.ts';
import { typescriptText } from '../material.ts';
import { alternate, speedup, type Measurement, type Measurements } from '../measure.ts';
import { both, figures, milliseconds, rate, type Findings, type Goal, type Table } from '../report.ts';
import { promptOf } from '../prompts.ts';
import { progress, type BenchOptions, type Section } from './section.ts';

export const decodeSection: Section = {
  title: 'Decoding at full depth',
  takes: 'about three minutes for SmolLM2 and the model that ships',
  each: 'model',
  run: async (options, file) => ({
    ...(await measureModel(file, options, measureBeside)),
    notes: [
      `Greedy decoding with ${options.threads} threads; ${options.rounds} rounds. A sample is the next ${tokensBeside} tokens of one sequence after the prompt; prompts are cut from TypeScript (${typescriptText('heldout').origin}).`,
      `llama.cpp is node-llama-cpp ${llamaVersion} with its own binaries and defaults, in a process of its own; its prompt time includes its first token, as ours does.`,
    ],
  }),
};

export const batchesSection: Section = {
  title: 'Prompts and batches',
  takes: 'about ten minutes for SmolLM2 and the model that ships',
  each: 'model',
  run: async (options, file) => ({
    ...(await measureModel(file, options, (model, tokenizer, decoders) =>
      measureGrid(model, tokenizer, decoders.get('fast')!, options),
    )),
    notes: [
      `Greedy decoding at full depth, precision \`fast\`, ${options.threads} threads. A sample is ${tokensInBatch} steps of the same sequences, so the context grows by as much from sample to sample.`,
    ],
  }),
};

const contexts = [64, 512];
const promptsAlone = [32, 512, 2048];
const batches = [1, 4, 16];
const tokensBeside = 32;
const tokensInBatch = 8;

type Precision = 'fast' | 'exact';
const precisions: readonly Precision[] = ['fast', 'exact'];

type Measure = (
  model: Model,
  tokenizer: Tokenizer,
  decoders: ReadonlyMap<string, Decoder>,
  options: BenchOptions,
) => Promise<Findings>;

async function measureModel(file: string, options: BenchOptions, measure: Measure): Promise<Findings> {
  const model = openModel(file);
  try {
    const tokenizer = loadTokenizer(file);
    const ours = await openOurs(model, tokenizer, options.threads);
    const withLlama = measure === measureBeside && file.endsWith('.gguf') && (await installLlama());
    const contextSize = Math.min(model.spec.contextLength, Math.max(...contexts) + 256);
    const llama = withLlama
      ? await llamaDecoder({ model: path.resolve(file), threads: options.threads, contextSize })
      : null;
    try {
      const decoders = new Map<string, Decoder>([
        ...ours.decoders,
        ...(llama ? ([['llama.cpp', llama]] as const) : []),
      ]);
      return await measure(model, tokenizer, decoders, options);
    } finally {
      await llama?.dispose();
      await ours.dispose();
    }
  } finally {
    model.close();
  }
}

async function openOurs(
  model: Model,
  tokenizer: Tokenizer,
  threads: number,
): Promise<{ decoders: Map<Precision, Decoder>; dispose(): Promise<void> }> {
  const decoders = new Map<Precision, Decoder>();
  const disposals: (() => Promise<void>)[] = [];
  for (const precision of precisions) {
    const arithmetic = precision === 'fast' ? 'int8' : 'float32';
    const staged = await openStagedModel(model, noExits, { arithmetic, threads });
    decoders.set(precision, ourDecoder(staged, tokenizer));
    disposals.push(() => staged.dispose());
  }
  return {
    decoders,
    async dispose() {
      for (const dispose of disposals) await dispose();
    },
  };
}

/** All decoders in turn, each from its prompt anew. */
async function measureBeside(
  model: Model,
  tokenizer: Tokenizer,
  decoders: ReadonlyMap<string, Decoder>,
  { rounds }: BenchOptions,
): Promise<Findings> {
  const goals: Goal[] = [];
  const decoding: string[][] = [];
  const reading: string[][] = [];
  const measurements: Measurement[] = [];
  for (const context of fitting(contexts, tokensBeside, model)) {
    const prompt = promptOf(tokenizer, context, 0);
    const contestants = [...decoders].map(([name, decoder]) => ({
      name,
      turn: async () => ({
        [`${name} prompt`]: await decoder.start([prompt]),
        [name]: await decoder.pull(tokensBeside),
      }),
    }));
    const measured = await alternate(
      contestants,
      rounds,
      progress(`${model.name}, ${context} tokens of context`, rounds),
    );
    const llama = measured.get('llama.cpp');
    if (llama) {
      const fast = speedup(measured.get('fast')!, llama);
      goals.push({
        what: `full depth, \`fast\` ÷ llama.cpp, ${model.name}, ${context} tokens of context`,
        value: fast.median,
        unit: '×',
        bound: 'at least',
        limit: 1.2,
        reach: 1.6,
      });
    }
    decoding.push([`${context}`, ...besideRow(measured, '', tokensBeside)]);
    reading.push([`${context}`, ...besideRow(measured, ' prompt', context)]);
    measurements.push(...named(`${model.name} ${context}`, measured));
  }
  const columns = [
    'context',
    ...(decoders.has('llama.cpp') ? ['`fast` ÷ llama.cpp', '`exact` ÷ llama.cpp'] : []),
    ...[...decoders.keys()].flatMap((name) => [`${name}, tokens/s`, 'ms/token']),
  ];
  const tables: Table[] = [
    { caption: `${model.name}: next tokens`, columns, rows: decoding },
    { caption: `${model.name}: reading the prompt`, columns, rows: reading },
  ];
  return { goals, tables, notes: [], measurements };
}

function besideRow(measured: Measurements, kind: string, tokens: number): string[] {
  const llama = measured.get(`llama.cpp${kind}`);
  const names = llama ? [...precisions, 'llama.cpp'] : precisions;
  return [
    ...(llama ? precisions.map((name) => both(speedup(measured.get(name + kind)!, llama))) : []),
    ...names.flatMap((name) => {
      const one = measured.get(name + kind)!;
      return [rate(one, tokens), milliseconds(one, tokens)];
    }),
  ];
}

/** One decoder over prompts and batches; sequences go on from sample to sample. */
async function measureGrid(
  model: Model,
  tokenizer: Tokenizer,
  decoder: Decoder,
  { rounds, isDraft }: BenchOptions,
): Promise<Findings> {
  const rows: string[][] = [];
  const measurements: Measurement[] = [];
  for (const tokens of fitting(
    isDraft ? promptsAlone.slice(0, 1) : promptsAlone,
    (rounds + 1) * tokensInBatch,
    model,
  )) {
    let alone: Measurement | null = null;
    for (const batch of batches) {
      const what = `${model.name} prompt ${tokens} batch ${batch}`;
      const prompts = Array.from({ length: batch }, (_, i) => promptOf(tokenizer, tokens, i));
      const promptSeconds = await decoder.start(prompts);
      const turn = async (): Promise<Record<string, number>> => ({ [what]: await decoder.pull(tokensInBatch) });
      const measured = (await alternate([{ name: what, turn }], rounds, progress(what, rounds))).get(what)!;
      alone ??= measured;
      const perToken = { median: measured.median / batch, minimum: measured.minimum / batch };
      rows.push([
        `${tokens}`,
        `${batch}`,
        both({ median: alone.median / perToken.median, minimum: alone.minimum / perToken.minimum }),
        rate(measured, batch * tokensInBatch),
        milliseconds(measured, tokensInBatch),
        figures((batch * tokens) / promptSeconds),
      ]);
      measurements.push(measured);
    }
  }
  const columns = ['prompt', 'batch', 'tokens/s ÷ batch 1', 'tokens/s', 'ms/step', 'prompt, tokens/s (once)'];
  return {
    goals: [],
    tables: [{ caption: `${model.name}: prompts and batches, \`fast\``, columns, rows }],
    notes: [],
    measurements,
  };
}

/** Lengths with room for `more` tokens, cut down where the model sees less. */
const fitting = (lengths: readonly number[], more: number, { spec }: Model): number[] => [
  ...new Set(lengths.map((tokens) => Math.min(tokens, spec.contextLength - more - 2))),
];

const named = (prefix: string, measured: Measurements): Measurement[] =>
  [...measured.values()].map((one) => ({ ...one, name: `${prefix}: ${one.name}` }));
