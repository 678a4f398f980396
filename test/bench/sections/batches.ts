/** Decoding of several sequences at a time at full depth, after prompts of several lengths. */
import { loadTokenizer, type Tokenizer } from '../../../backend/data/tokenizer/tokenizer.ts';
import { openModel, type Model } from '../../../backend/model/open.ts';
import { noExits, openStagedModel } from '../../../backend/runtime/open.ts';
import type { Decoder } from '../contestants/decoder.ts';
import { ourDecoder } from '../contestants/ours.ts';
import { alternate, type Measurement } from '../measure.ts';
import { promptOf } from '../prompts.ts';
import { both, figures, milliseconds, rate, type Findings, type Goal } from '../report.ts';
import { fitting, progress, type BenchOptions, type Section } from './section.ts';

export const batchesSection: Section = {
  title: 'Prompts and batches',
  takes: 'about five minutes for SmolLM2 and the model that ships',
  each: 'model',
  async run(options, file) {
    const model = openModel(file);
    const staged = await openStagedModel(model, noExits, { arithmetic: 'int8', threads: options.threads });
    try {
      const tokenizer = loadTokenizer(file);
      return {
        ...(await measureGrid(model, tokenizer, ourDecoder(staged, tokenizer), options)),
        notes: [
          `Greedy decoding at full depth, precision \`fast\`, ${options.threads} threads. A sample is ${tokensInBatch} steps of the same sequences, so the context grows by as much from sample to sample.`,
        ],
      };
    } finally {
      await staged.dispose();
      model.close();
    }
  },
};

const prompts = [32, 512, 2048];
const batches = [1, 4, 16];
const tokensInBatch = 8;
const goalBatch = 16;
const goalPrompt = 2048;

/** One decoder over prompts and batches; sequences go on from sample to sample. */
async function measureGrid(
  model: Model,
  tokenizer: Tokenizer,
  decoder: Decoder,
  { rounds, isDraft, contexts }: BenchOptions,
): Promise<Findings> {
  const goals: Goal[] = [];
  const rows: string[][] = [];
  const measurements: Measurement[] = [];
  const wanted = contexts.length ? contexts : isDraft ? prompts.slice(0, 1) : prompts;
  for (const tokens of fitting(wanted, (rounds + 1) * tokensInBatch, model)) {
    let alone: Measurement | null = null;
    for (const batch of batches) {
      const what = `${model.name} prompt ${tokens} batch ${batch}`;
      const texts = Array.from({ length: batch }, (_, i) => promptOf(tokenizer, tokens, i));
      const promptSeconds = await decoder.start(texts);
      const turn = async (): Promise<Record<string, number>> => ({ [what]: await decoder.pull(tokensInBatch) });
      const measured = (await alternate([{ name: what, turn }], rounds, progress(what, rounds))).get(what)!;
      alone ??= measured;
      const perToken = { median: measured.median / batch, minimum: measured.minimum / batch };
      const gain = { median: alone.median / perToken.median, minimum: alone.minimum / perToken.minimum };
      if (batch === goalBatch && tokens >= goalPrompt)
        goals.push({
          what: `${batch} texts at ${tokens} tokens ÷ one, tokens a second, ${model.name}`,
          value: gain.median,
          unit: '×',
          bound: 'at least',
          limit: 5,
          reach: 8,
        });
      rows.push([
        `${tokens}`,
        `${batch}`,
        both(gain),
        rate(measured, batch * tokensInBatch),
        milliseconds(measured, tokensInBatch),
        figures((batch * tokens) / promptSeconds),
      ]);
      measurements.push(measured);
    }
  }
  const columns = ['prompt', 'batch', 'tokens/s ÷ batch 1', 'tokens/s', 'ms/step', 'prompt, tokens/s (once)'];
  return {
    goals,
    tables: [{ caption: `${model.name}: prompts and batches, \`fast\``, columns, rows }],
    notes: [],
    measurements,
  };
}
