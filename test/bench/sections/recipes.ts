/**
 * Which recipe makes the best exits in equal time: whole runs of `early-exit tune` on TypeScript, each from an empty cache, scored
 * on packages they never saw and on what the model itself writes after them.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { loadTokenizer, type Tokenizer } from '../../../backend/data/tokenizer/tokenizer.ts';
import type { ExitArchitecture } from '../../../backend/exits/spec.ts';
import { openModel } from '../../../backend/model/open.ts';
import { noExits, openStagedModel } from '../../../backend/runtime/open.ts';
import type { EvaluateEvent, ExitScore } from '../../../protocol/events.ts';
import { freshFolder, runProgram } from '../children.ts';
import { writeTexts } from '../contestants/ours.ts';
import { bigModel, shippedModel, typescriptText } from '../material.ts';
import { manyPrompts } from '../prompts.ts';
import { figures, type Findings, type Table } from '../report.ts';
import type { BenchOptions, Section } from './section.ts';

/** Shares of the depth, from what is hard to what is nearly decided: 8, 16 and 24 of 30 layers. */
const depths = [4 / 15, 8 / 15, 4 / 5];
const shared = '--fit-tokens 30000 --evaluation-tokens 4096';
/** Held-out tokens of either kind of text that a recipe is scored on. */
const scoredTokens = 6144;

/** Texts of the model's own: a prompt and what it says, a window's half together. */
const own = { promptTokens: 64, newTokens: 192, batch: 16, forTuning: 208, forScores: 24 };

interface Recipe {
  readonly name: string;
  /** Default: `lens`. */
  readonly architecture?: ExitArchitecture;
  readonly flags?: string;
  /** The deepest exit without the others. */
  readonly isAlone?: true;
  readonly isOwnText?: true;
}

const recipes: readonly Recipe[] = [
  { name: 'the default: lenses, shortlist, fitted, distilled' },
  { name: 'cross-entropy instead of distillation', flags: '--cross-entropy 1 --distillation 0' },
  { name: 'half of each', flags: '--cross-entropy 0.5 --distillation 0.5' },
  { name: 'copied, not fitted', flags: '--initialise copy' },
  { name: "the model's own head", flags: '--head shared' },
  { name: '`mlp` exits', architecture: 'mlp' },
  { name: '`layer` exits', architecture: 'layer' },
  { name: 'one exit alone', isAlone: true },
  { name: "the model's own text", isOwnText: true },
];

export const recipesSection: Section = {
  title: 'Recipes of tuning',
  takes: 'about forty-five minutes',
  each: 'once',
  run: (options) => measureModel(bigModel() ?? shippedModel, options),
};

async function measureModel(model: string, options: BenchOptions): Promise<Findings> {
  const folder = freshFolder('recipes');
  const layers = layersOf(model);
  const texts = await writeData(model, folder, options);
  const minutes = options.isDraft ? 0.5 : 4;
  const rows: string[][] = [];
  for (const [i, one] of recipes.entries()) {
    const left = minutes - (one.isOwnText ? texts.minutes : 0);
    if (left <= 0) {
      console.error(`  ${one.name}: left out, writing it took all of its time`);
      continue;
    }
    console.error(`  ${one.name}: ${figures(left)} minutes`);
    const out = path.join(folder, `${i}.exits`);
    freshFolder('user-cache');
    const data = one.isOwnText ? texts.ownTrain : texts.train;
    const places = one.isAlone ? layers.slice(-1) : layers;
    const exits = places.map((layer) => `${layer}:${one.architecture ?? 'lens'}`).join();
    const flags = `--exits ${exits} --minutes ${left} ${shared} ${one.flags ?? ''}`.trim().split(/\s+/);
    await runProgram(['tune', '--model', model, '--data', data, '--out', out, ...flags]);
    const heldOutScores = await scoresOn(model, out, texts.heldOut);
    const ownScores = await scoresOn(model, out, texts.ownHeldOut);
    const each = (say: (score: ExitScore) => string, scores: readonly ExitScore[]): string[] =>
      layers.map((layer) => {
        const found = scores.find((score) => score.exit !== 'final' && score.layer === layer);
        return found ? say(found) : '';
      });
    const loss = ({ loss }: ExitScore): string => loss.toFixed(2);
    const agreement = ({ agreement }: ExitScore): string => `${(100 * agreement).toFixed(1)} %`;
    rows.push([
      one.name,
      `${updatesOf(out)}`,
      ...each(loss, heldOutScores),
      ...each(agreement, heldOutScores),
      ...each(agreement, ownScores),
    ]);
  }
  const columns = ['loss', 'agreement', 'own text'].flatMap((what) => layers.map((layer) => `${what}, ${layer}`));
  const table: Table = {
    caption: `${path.basename(model)}: ${minutes} minutes of \`early-exit tune\` each`,
    columns: ['recipe', 'updates', ...columns],
    rows,
  };
  return {
    goals: [],
    tables: [table],
    notes: [
      `Exits at layers ${layers.join(', ')}; \`${shared}\`, defaults otherwise; one run and one seed each, with nothing cached, loading, fit and evaluations within the time. Tuned on ${typescriptText('train').origin}.`,
      `Loss and agreement: ${scoredTokens} tokens of ${typescriptText('heldout').origin}, packages never tuned on. Own text: agreement on as many tokens of ${own.forScores} prompts of ${own.promptTokens} of its tokens and ${own.newTokens} that the model itself went on with, greedily, at full depth.`,
      `The recipe of the model's own text is tuned on such texts, ${own.forTuning} of them from prompts of the tuning data; writing them took ${figures(texts.minutes)} minutes, which are taken off its time.`,
    ],
    measurements: [],
  };
}

function layersOf(file: string): number[] {
  const model = openModel(file);
  const count = model.spec.layers.length;
  model.close();
  return depths.map((share) => Math.round(share * count));
}

interface Texts {
  readonly train: string;
  readonly heldOut: string;
  readonly ownTrain: string;
  readonly ownHeldOut: string;
  /** To write the texts of `ownTrain`. */
  readonly minutes: number;
}

async function writeData(file: string, folder: string, { threads, isDraft }: BenchOptions): Promise<Texts> {
  const write = (name: string, documents: readonly string[]): string => {
    const written = path.join(folder, `${name}.jsonl`);
    writeFileSync(written, documents.map((text) => JSON.stringify({ text })).join('\n'));
    return written;
  };
  const tokenizer = loadTokenizer(file);
  const model = openModel(file);
  const plain = await openStagedModel(model, noExits, { arithmetic: 'int8', threads });
  const goOn = async (part: 'train' | 'heldout', count: number): Promise<string[]> => {
    const prompts = manyPrompts(tokenizer, count, own.promptTokens, part);
    return decoded(tokenizer, prompts, await writeTexts(plain, tokenizer, prompts, { ...own, drafts: null }));
  };
  try {
    console.error("  writing the model's own text …");
    const ownHeldOut = write('own-heldout', await goOn('heldout', own.forScores));
    const started = performance.now();
    const ownTrain = write('own-train', await goOn('train', isDraft ? 2 * own.batch : own.forTuning));
    return {
      train: write('train', typescriptText('train').documents),
      heldOut: write('heldout', typescriptText('heldout').documents),
      ownTrain,
      ownHeldOut,
      minutes: (performance.now() - started) / 60_000,
    };
  } finally {
    await plain.dispose();
    model.close();
  }
}

const decoded = (
  tokenizer: Tokenizer,
  prompts: readonly (readonly number[])[],
  said: readonly (readonly number[])[],
): string[] => prompts.map((prompt, i) => tokenizer.decode([...prompt, ...said[i]!]));

async function scoresOn(model: string, exits: string, data: string): Promise<ExitScore[]> {
  const flags = `--documents all --evaluation-tokens ${scoredTokens} --json`.split(' ');
  const { output } = await runProgram(['evaluate', '--model', model, '--exits', exits, '--data', data, ...flags]);
  const events = output
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as EvaluateEvent);
  const evaluated = events.find((event) => event.type === 'evaluated');
  if (!evaluated) throw new Error(`${exits} was not scored`);
  return evaluated.scores;
}

/** The number of a run's last step. */
function updatesOf(exits: string): number {
  const last = readFileSync(path.join(exits, 'metrics.jsonl'), 'utf8').trim().split('\n').at(-1)!;
  return (JSON.parse(last) as { step: number }).step;
}
