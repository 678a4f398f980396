/** Decoding at full depth beside llama.cpp on the same GGUF, one sequence; each in a process of its own. */
import path from 'node:path';
import { loadTokenizer } from '../../../backend/data/tokenizer/tokenizer.ts';
import { openModel } from '../../../backend/model/open.ts';
import { childDecoder, type Decoder } from '../contestants/decoder.ts';
import { installLlama, llamaDecoder, llamaVersion } from '../contestants/llama.ts';
import { ourChild } from '../contestants/our-process.ts';
import { typescriptText } from '../material.ts';
import { alternate, fewestRounds, speedup, type Measurement, type Measurements } from '../measure.ts';
import { promptOf } from '../prompts.ts';
import { both, milliseconds, rate, type Findings, type Goal, type Table } from '../report.ts';
import { fitting, isBillions, merged, named, progress, type BenchOptions, type Section } from './section.ts';

export const decodeSection: Section = {
  title: 'Decoding at full depth',
  takes: 'about three minutes a model',
  clocks: true,
  each: 'model',
  run: (options, file) => measureBeside(file, options, [64, 512], options.rounds),
};

/** A turn takes long there, so there are half as many, if that is enough. */
export const longSection: Section = {
  title: 'Decoding at full depth, long contexts',
  takes: 'about two minutes a model',
  clocks: true,
  each: 'model',
  run: (options, file) =>
    measureBeside(file, options, [2048], Math.max(options.isDraft ? 1 : fewestRounds, Math.ceil(options.rounds / 2))),
};

const tokensBeside = 32;

async function measureBeside(
  file: string,
  options: BenchOptions,
  contexts: readonly number[],
  rounds: number,
): Promise<Findings> {
  return {
    ...(await measureModel(file, options, options.contexts.length ? options.contexts : contexts, rounds)),
    notes: [
      `Greedy decoding with ${options.threads} threads; ${rounds} rounds. A sample is the next ${tokensBeside} tokens of one sequence after the prompt; prompts are cut from TypeScript (${typescriptText('heldout').origin}).`,
      `llama.cpp is node-llama-cpp ${llamaVersion} with its own binaries and defaults. Both run in processes of their own; both times of a prompt include its first token.`,
    ],
  };
}

async function measureModel(
  file: string,
  { threads, clock }: BenchOptions,
  contexts: readonly number[],
  rounds: number,
): Promise<Findings> {
  const decoders = new Map<string, Decoder>();
  const [ours, model] = [ourChild(clock), openModel(file)];
  try {
    const tokenizer = loadTokenizer(file);
    await ours.ask({ type: 'open', model: path.resolve(file), threads, exits: [] });
    decoders.set('fast', childDecoder(ours));
    const lengths = fitting(contexts, tokensBeside, model);
    if (file.endsWith('.gguf') && (await installLlama())) {
      const contextSize = Math.max(...lengths) + tokensBeside + 8;
      decoders.set('llama.cpp', await llamaDecoder({ model: path.resolve(file), threads, contextSize }, clock));
    }
    const found: Findings[] = [];
    for (const context of lengths) {
      const prompt = promptOf(tokenizer, context, 0);
      const contestants = [...decoders].map(([name, decoder]) => ({
        name,
        turn: async () => ({
          [`${name} prompt`]: await decoder.start([prompt]),
          [name]: await decoder.pull(tokensBeside),
        }),
      }));
      const what = `${model.name}, ${context} tokens of context`;
      const measured = await alternate(contestants, rounds, progress(what, rounds));
      found.push(findings(model.name, isBillions(model), context, measured));
    }
    return merged(found);
  } finally {
    await ours.end();
    for (const decoder of decoders.values()) await decoder.dispose();
    model.close();
  }
}

function findings(name: string, isLarge: boolean, context: number, measured: Measurements): Findings {
  const llama = measured.get('llama.cpp');
  const table = (subject: string, kind: string, tokens: number): Table => ({
    caption: `${name}: ${subject}`,
    columns: [
      'context',
      ...(llama ? ['`fast` ÷ llama.cpp'] : []),
      ...(llama ? ['fast', 'llama.cpp'] : ['fast']).flatMap((one) => [`${one}, tokens/s`, `${one}, ms`]),
    ],
    rows: [[`${context}`, ...besideRow(measured, kind, tokens)]],
  });
  const goal = (what: string, kind: string, limit: number, reach: number): Goal => ({
    what: `${what} ÷ llama.cpp, ${name}, ${context} tokens of context`,
    value: speedup(measured.get(`fast${kind}`)!, measured.get(`llama.cpp${kind}`)!).median,
    unit: '×',
    bound: 'at least',
    limit,
    reach,
  });
  return {
    goals: llama
      ? [
          goal('speed of a token at full depth', '', isLarge ? 0.98 : 1.2, isLarge ? 1.1 : 1.5),
          goal('speed of a prompt', ' prompt', 0.98, 1.1),
        ]
      : [],
    tables: [table('next tokens', '', tokensBeside), table('reading the prompt', ' prompt', context)],
    notes: [],
    measurements: named(`${name} ${context}`, measured),
  };
}

/** The ratio if there is one; then tokens a second, and milliseconds: of a token, or of a whole prompt. */
function besideRow(measured: Measurements, kind: string, tokens: number): string[] {
  const ours = measured.get(`fast${kind}`)!;
  const llama = measured.get(`llama.cpp${kind}`);
  const cells = (one: Measurement): string[] => [rate(one, tokens), milliseconds(one, kind === '' ? tokens : 1)];
  return llama ? [both(speedup(ours, llama)), ...cells(ours), ...cells(llama)] : cells(ours);
}
