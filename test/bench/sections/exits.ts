/**
 * Whether exits pay: decoding with them beside the same model at full depth and llama.cpp, on prompts of TypeScript that the
 * model continues by itself. Every text is then scored by the full model: how often its choice was taken, and how probable it
 * finds the text.
 */
import { openModel, type Model } from '../../../backend/model/open.ts';
import { typescriptText } from '../material.ts';
import { thisMachine } from '../machine.ts';
import { ratioOfTotals } from '../measure.ts';
import { promptOf } from '../prompts.ts';
import type { Findings, Goal } from '../report.ts';
import { minutesFor, minutesOf, tunedOnTypescript } from '../tuned.ts';
import { isBillions, type BenchOptions, type Section } from './section.ts';
import {
  asCalibrated,
  exactHead,
  exitsAlone,
  fullDepth,
  llamaName,
  measureWays,
  waysTable,
  type MeasuredWays,
  type Way,
} from './ways.ts';

const promptTokens = 128;
const newTokens = 128;
const fewestPrompts = 16;
const thresholds = [0.95, 0.9, 0.8, 0.7, 0.6, 0.5];

export const exitsSection: Section = {
  title: 'Decoding with exits',
  takes: 'about twenty minutes a model, and twenty more to tune where no exits are there',
  each: 'model',
  async run(options, file) {
    const { notes, ...measured } = await measureModel(file, options);
    return {
      ...measured,
      notes: [
        `Prompts of ${promptTokens} tokens of TypeScript (${typescriptText('heldout').origin}), ${newTokens} greedy tokens each, ${options.threads} threads, precision \`fast\` throughout; a sample is one text, and each way has as many as there are prompts. Our ways write a text side by side, a pass each in turn; llama.cpp writes it by itself. The prompt's own pass is not counted. Tokens/s are of the median text, ÷ full depth is of all texts together.`,
        'Agreement: the share of tokens that the full model would have chosen after the same text, by the numbers of single tokens. Loss: the mean of −log p of the text under the full model, in nats; up to 2 % more than of the texts at full depth counts as equal quality.',
        '`fast` and `lossless` draft from the text, too, as they do by default, unless a row says that exits are alone.',
        'Exits are as `tune --minutes 10` leaves them; those of a model of more than a billion parameters as `tune --minutes 20` does, and without bare thresholds, which would take half an hour more.',
        ...notes,
      ],
    };
  },
};

async function measureModel(file: string, options: BenchOptions): Promise<Findings> {
  const model = openModel(file);
  try {
    const isLarge = isBillions(model);
    const exits = options.exits ?? (await tunedOnTypescript(model, options.threads));
    const count = options.isDraft ? options.rounds : Math.max(fewestPrompts, options.rounds);
    const measured = await measureWays({
      file,
      model,
      threads: options.threads,
      exits,
      thresholds: isLarge ? [] : thresholds,
      prompts: async (tokenizer) => Array.from({ length: count }, (_, i) => promptOf(tokenizer, promptTokens, i)),
      newTokens,
    });
    const minutes = minutesOf(exits);
    const { processor } = thisMachine();
    const other = `Those of ${model.name} on ${processor} are as \`tune --minutes ${minutes}\` leaves them.`;
    return { ...findings(model, measured), notes: minutes === null || minutes === minutesFor(model) ? [] : [other] };
  } finally {
    model.close();
  }
}

function findings(model: Model, all: MeasuredWays): Findings {
  const { ways, measured, scores } = all;
  const full = measured.get(fullDepth)!;
  const fullScore = scores.get(fullDepth)!;
  const llama = measured.get(llamaName);
  const speed = ({ name }: Way): number => ratioOfTotals(full, measured.get(name)!);
  const ofKind = (kind: Way['kind']): Way[] => ways.filter((way) => way.kind === kind);
  const best = (among: readonly Way[]): number => Math.max(...among.map(speed));
  const besideExact = (among: readonly Way[]): number => ratioOfTotals(measured.get(exactHead)!, full) * best(among);
  const beside = besideExactHead(model);
  const calibrated = ways.filter(({ name }) => name.startsWith(asCalibrated));
  const alone = calibrated.filter(({ name }) => name.endsWith(exitsAlone));
  const agreeing = ofKind('fast').filter(({ name }) => scores.get(name)!.agreement >= 0.99);
  const equal = ofKind('fast').filter(({ name }) => scores.get(name)!.loss <= 1.02 * fullScore.loss);
  const goal = (what: string, value: number, limit: number, reach?: number): Goal => ({
    what: `${what}, ${model.name}`,
    value,
    unit: '×',
    bound: 'at least',
    limit,
    ...(reach === undefined ? {} : { reach }),
  });
  return {
    goals: [
      ...(calibrated.length ? [goal('calibrated exits ÷ own full depth', best(calibrated), 1)] : []),
      ...(alone.length
        ? [
            goal('exits alone ÷ own full depth', best(alone), 1.08, 1.2),
            goal('exits alone ÷ own full depth with the exact head', besideExact(alone), ...beside.alone),
            ...(beside.drafts
              ? [
                  goal(
                    'exits and drafts ÷ own full depth with the exact head',
                    besideExact(calibrated),
                    ...beside.drafts,
                  ),
                ]
              : []),
          ]
        : []),
      // If no way agrees so often, or leaves the text that probable, only full depth does.
      goal('`fast` at 99 % agreement ÷ own full depth', Math.max(1, best(agreeing)), 1.15, 1.6),
      goal('`fast` at equal quality ÷ own full depth', Math.max(1, best(equal)), 1.25, 1.8),
      goal('`lossless` ÷ own full depth', best(ofKind('lossless')), 1.2, 1.8),
      ...(llama
        ? [
            goal(
              'best mode ÷ llama.cpp',
              ratioOfTotals(llama, full) * best([...agreeing, ...ofKind('lossless')]),
              1.5,
              2.5,
            ),
          ]
        : []),
    ],
    tables: [waysTable(model, 'ways of decoding', all)],
    notes: [],
    measurements: [...measured.values()].map((one) => ({ ...one, name: `${model.name}: ${one.name}` })),
  };
}

type Bounds = readonly [limit: number, reach: number];

/** What leaving early must bring beside the exact head: more, the more of a token's time that head takes. */
function besideExactHead(model: Model): { readonly alone: Bounds; readonly drafts: Bounds | null } {
  if (isBillions(model)) return { alone: [1.2, 1.35], drafts: [1.4, 1.6] };
  if (model.spec.vocabulary > 100_000) return { alone: [1.35, 1.55], drafts: [1.7, 2] };
  return { alone: [1.25, 1.4], drafts: null };
}
