/**
 * Whether exits pay in chats: exits that were tuned and calibrated on the model's own answers, beside the same model at full depth, in
 * answers to other requests.
 */
import { loadTokenizer } from '../../../backend/data/tokenizer/tokenizer.ts';
import { openModel } from '../../../backend/model/open.ts';
import { chatPrompt, requestOf } from '../chats.ts';
import { ratioOfTotals } from '../measure.ts';
import type { Findings } from '../report.ts';
import { tunedOnChats } from '../tuned.ts';
import type { BenchOptions, Section } from './section.ts';
import { exitsAlone, fullDepth, measureWays, waysTable } from './ways.ts';

const newTokens = 192;
const fewestPrompts = 16;
const minutes = 10;

export const chatsSection: Section = {
  title: 'Exits in chats',
  takes: 'for models with a chat template, ten minutes each, and half an hour more where no exits for chats are there',
  each: 'model',
  async run(options, file) {
    if (loadTokenizer(file).chatTemplate === null) return { goals: [], tables: [], notes: [], measurements: [] };
    return {
      ...(await measureModel(file, options)),
      notes: [
        `Answers to requests for long ones, in the model's own template: ${newTokens} greedy tokens each, ${options.threads} threads, precision \`fast\`; a sample is one answer. Our ways write an answer side by side, a pass each in turn; llama.cpp writes it by itself. The prompt's own pass is not counted. Tokens/s are of the median answer, ÷ full depth is of all answers together.`,
        `Exits are tuned for ${minutes} minutes on the model's own greedy answers to 256 requests, and then calibrated on 128 others; no topic is in two of these sets. Agreement and loss are those of [exits](#what-do-exits-bring-and-what-does-it-cost).`,
      ],
    };
  },
};

async function measureModel(file: string, options: BenchOptions): Promise<Findings> {
  const model = openModel(file);
  try {
    const exits = options.exits ?? (await tunedOnChats(model, options.threads));
    const count = options.isDraft ? options.rounds : Math.max(fewestPrompts, options.rounds);
    const all = await measureWays({
      file,
      model,
      threads: options.threads,
      exits,
      thresholds: [],
      prompts: (tokenizer) =>
        Promise.all(Array.from({ length: count }, (_, n) => chatPrompt(tokenizer, requestOf('measuring', n)))),
      newTokens,
    });
    const { ways, measured } = all;
    const alone = ways.find(({ name }) => name.endsWith(exitsAlone));
    return {
      goals: alone
        ? [
            {
              what: `exits alone ÷ own full depth, English chat, ${model.name}`,
              value: ratioOfTotals(measured.get(fullDepth)!, measured.get(alone.name)!),
              unit: '×',
              bound: 'at least',
              limit: 1.05,
              reach: 1.15,
            },
          ]
        : [],
      tables: [waysTable(model, 'ways of answering', all)],
      notes: [],
      measurements: [...measured.values()].map((one) => ({ ...one, name: `${model.name}: ${one.name}` })),
    };
  } finally {
    model.close();
  }
}
