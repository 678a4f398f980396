/**
 * Whether exits pay: decoding with them beside the same model at full depth and llama.cpp, on prompts of TypeScript that the
 * model continues by itself. Every text is then scored by the full model: how often its choice was taken, and how probable it
 * finds the text.
 */
import { cpSync, existsSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { loadTokenizer } from '../../../backend/data/tokenizer.ts';
import { textDrafts } from '../../../backend/decoding/draft.ts';
import { openKvCache } from '../../../backend/decoding/kv-cache.ts';
import { openSession } from '../../../backend/decoding/session.ts';
import { openModel, type Model } from '../../../backend/model/open.ts';
import { gatesOf } from '../../../backend/checkpoint/gates.ts';
import { leavingBy } from '../../../backend/evaluation/trial.ts';
import { readExits } from '../../../backend/recipes/opened.ts';
import { noExits, onlyExits, openStagedModel } from '../../../backend/runtime/open.ts';
import type { StagedModel } from '../../../backend/runtime/staged-model.ts';
import { mostSingle } from '../../../backend/runtime/tiles.ts';
import type { Calibration } from '../../../backend/checkpoint/checkpoint.ts';
import { parseOptions } from '../../../protocol/options.ts';
import { shownPromise } from '../../../protocol/options-promise.ts';
import { freshFolder, runProgram } from '../children.ts';
import { installLlama, llamaDecoder } from '../contestants/llama.ts';
import { sideBySide, type Writer } from '../contestants/side-by-side.ts';
import { benchCache, typescriptText } from '../material.ts';
import { alternate, type Contestant, type Measurement, type Measurements } from '../measure.ts';
import { promptOf } from '../prompts.ts';
import { figures, type Findings, type Goal } from '../report.ts';
import { isBillions, progress, type BenchOptions, type Section } from './section.ts';

const promptTokens = 128;
const newTokens = 128;
const fewestPrompts = 16;
const thresholds = [0.95, 0.9, 0.8, 0.7, 0.6, 0.5];
/** Of this one, also what exits give without drafts. */
const loneThreshold = 0.8;
const arithmetic = 'int8';
const draftLimit = parseOptions('generate', {}).drafts;

const fullDepth = 'full depth';
/** As other engines read a head. */
const exactHead = 'full depth, exact head';
const asCalibrated = 'fast, calibrated';
/** Of a second calibration, for equal quality. */
const strictAgreement = 0.998;

export const exitsSection: Section = {
  title: 'Decoding with exits',
  takes: 'about half an hour a model, and ten or twenty minutes more to tune where no exits are there',
  each: 'model',
  async run(options, file) {
    return {
      ...(await measureModel(file, options)),
      notes: [
        `Prompts of ${promptTokens} tokens of TypeScript (${typescriptText('heldout').origin}), ${newTokens} greedy tokens each, ${options.threads} threads, precision \`fast\` throughout; a sample is one text, and each way has as many as there are prompts. Our ways write a text side by side, a pass each in turn; llama.cpp writes it by itself. The prompt's own pass is not counted. Tokens/s are of the median text, ÷ full depth is of all texts together.`,
        'Agreement: the share of tokens that the full model would have chosen after the same text, by the numbers of single tokens. Loss: the mean of −log p of the text under the full model, in nats; up to 2 % more than of the texts at full depth counts as equal quality.',
        '`fast` and `lossless` draft from the text, too, as they do by default, unless a row says that exits are alone.',
        'Exits are tuned in ten minutes and then calibrated; those of a model of more than a billion parameters are tuned in twenty, and without a second calibration and bare thresholds, which would take an hour more.',
      ],
    };
  },
};

/** One way of decoding. */
interface Way extends Writer {
  readonly kind: 'full' | 'fast' | 'lossless';
}

async function measureModel(file: string, options: BenchOptions): Promise<Findings> {
  const model = openModel(file);
  const { threads } = options;
  const closing: (() => Promise<void>)[] = [];
  try {
    const tokenizer = loadTokenizer(file);
    const isLarge = isBillions(model);
    const directory = options.exits ?? (await tunedExits(file, model));
    const exits = await readExits(directory, { model, tokenizer });
    const strict = isLarge ? [] : [await readExits(await strictly(directory, file), { model, tokenizer })];
    const plain = await openStagedModel(model, noExits, { arithmetic, threads });
    const exact = await openStagedModel(model, noExits, { arithmetic, threads, head: 'exact' });
    const staged = await openStagedModel(model, exits, { arithmetic, threads });
    const calibrated: CalibratedExits[] = [];
    for (const { calibration } of [exits, ...strict]) {
      if (!calibration) continue;
      // As generating opens it: cut only where the calibration asks.
      const usedExits = onlyExits(exits, (exit) => exit in calibration.thresholds);
      calibrated.push({ calibration, model: await openStagedModel(model, usedExits, { arithmetic, threads }) });
    }
    closing.push(
      () => plain.dispose(),
      () => exact.dispose(),
      () => staged.dispose(),
      ...calibrated.map((one) => () => one.model.dispose()),
    );
    const prompts = Array.from(
      { length: options.isDraft ? options.rounds : Math.max(fewestPrompts, options.rounds) },
      (_, i) => promptOf(tokenizer, promptTokens, i),
    );
    const ways = waysOf({ plain, exact, staged, calibrated }, isLarge ? [] : thresholds);
    const contestants: Contestant[] = [sideBySide(ways, tokenizer, prompts, newTokens)];
    if (file.endsWith('.gguf') && (await installLlama())) {
      const contextSize = promptTokens + newTokens + 8;
      const llama = await llamaDecoder({ model: path.resolve(file), threads, contextSize });
      closing.push(() => llama.dispose());
      let at = 0;
      const turn = async (): Promise<Record<string, number>> => {
        await llama.start([prompts[at++ % prompts.length]!]);
        return { 'llama.cpp': await llama.pull(newTokens - 1) };
      };
      contestants.push({ name: 'llama.cpp', turn });
    }
    const measured = await alternate(contestants, prompts.length, progress(`${model.name}, texts`, prompts.length));
    const scores = await scoreTexts(plain, prompts, ways);
    return findings(model, measured, ways, scores);
  } finally {
    for (const close of closing.reverse()) await close();
    model.close();
  }
}

/** Exits tuned in ten minutes, those of a large model in twenty, and then calibrated; kept for the next time. */
export async function tunedExits(file: string, model: Model): Promise<string> {
  const directory = path.join(benchCache, 'exits', `${path.basename(file)}.exits`);
  if (existsSync(path.join(directory, 'exits.json'))) return directory;
  const minutes = isBillions(model) ? 20 : 10;
  console.error(`  tuning exits for ${minutes} minutes …`);
  const { documents } = typescriptText('train');
  const data = path.join(freshFolder('exits-data'), 'train.jsonl');
  writeFileSync(data, asLines(documents));
  const given = ['--model', path.resolve(file), '--data', data, '--minutes', `${minutes}`, '--out', directory];
  await runProgram(['tune', ...given]);
  await calibrate(directory, file, data);
  return directory;
}

/** A copy of exits, calibrated for hardly any difference: what equal quality takes. */
async function strictly(directory: string, file: string): Promise<string> {
  const folder = freshFolder('exits-strict');
  cpSync(directory, folder, { recursive: true });
  const data = path.join(freshFolder('exits-data'), 'train.jsonl');
  writeFileSync(data, asLines(typescriptText('train').documents));
  await calibrate(folder, file, data, ['--promise', `agreement=${strictAgreement}`, '--calibration-tokens', '8192']);
  return folder;
}

const asLines = (documents: readonly string[]): string => documents.map((text) => JSON.stringify({ text })).join('\n');

async function calibrate(directory: string, file: string, data: string, more: readonly string[] = []): Promise<void> {
  const model = path.resolve(file);
  const given = ['--model', model, '--exits', directory, '--data', data, '--precision', 'fast', ...more];
  await runProgram(['calibrate', ...given]);
}

/** The model cut at the exits that a calibration asks. */
interface CalibratedExits {
  readonly calibration: Calibration;
  readonly model: StagedModel;
}

interface Opened extends Readonly<Record<'plain' | 'exact' | 'staged', StagedModel>> {
  readonly calibrated: readonly CalibratedExits[];
}

function waysOf({ plain, exact, staged, calibrated }: Opened, thresholds: readonly number[]): Way[] {
  const way = (name: string, kind: Way['kind'], model: StagedModel, different: Way['different']): Way => ({
    name,
    kind,
    session: openSession(model),
    different,
    texts: [],
  });
  const lookup = textDrafts(draftLimit);
  const fast = (name: string, threshold: number, drafts = true): Way =>
    way(name, 'fast', staged, {
      enabled: () => true,
      policy: { kind: 'confidence', threshold: () => threshold },
      remembers: true,
      drafts: drafts ? lookup : null,
    });
  return [
    way(fullDepth, 'full', plain, {}),
    way(exactHead, 'full', exact, {}),
    ...calibrated.flatMap(({ calibration, model }) => {
      const name = `${asCalibrated} for ${shownPromise(calibration.promise)}`;
      const { thresholds, deferred } = calibration;
      const candidate = { thresholds, gates: gatesOf(calibration), remembers: deferred === 'memory' };
      const how = { ...leavingBy(candidate), onProbation: true };
      return [way(name, 'fast', model, { ...how, drafts: lookup }), way(`${name}, exits alone`, 'fast', model, how)];
    }),
    ...thresholds.map((threshold) => fast(`fast, threshold ${threshold}`, threshold)),
    ...(thresholds.includes(loneThreshold)
      ? [fast(`fast, threshold ${loneThreshold}, exits alone`, loneThreshold, false)]
      : []),
    way('lossless, drafts of all exits, too', 'lossless', staged, { drafts: { ...lookup, exits: () => true } }),
    way('lossless', 'lossless', plain, { drafts: lookup }),
  ];
}

interface Score {
  readonly agreement: number;
  readonly loss: number;
  readonly layers: number;
}

/** What the full model says of each way's texts, `plain` being that model. */
async function scoreTexts(
  plain: StagedModel,
  prompts: readonly (readonly number[])[],
  ways: readonly Way[],
): Promise<Map<string, Score>> {
  const scores = new Map<string, Score>();
  const known = new Map<string, { agreed: number; loss: number }>();
  for (const { name, texts } of ways) {
    let [agreed, loss, count, layers] = [0, 0, 0, 0];
    for (const [i, text] of texts.entries()) {
      const ids = text.map(({ id }) => id);
      const key = `${i}: ${ids.join()}`;
      const one = known.get(key) ?? (await scoreText(plain, prompts[i]!, ids));
      known.set(key, one);
      agreed += one.agreed;
      loss += one.loss;
      count += ids.length;
      layers += text.reduce((sum, { layer }) => sum + layer, 0) / text.length / texts.length;
    }
    scores.set(name, { agreement: agreed / count, loss: loss / count, layers });
  }
  return scores;
}

/** Token by token, as full depth decodes: a pass over many tokens rounds otherwise, and here and there another wins. */
async function scoreText(
  plain: StagedModel,
  prompt: readonly number[],
  ids: readonly number[],
): Promise<{ agreed: number; loss: number }> {
  const cache = openKvCache(plain, 1);
  try {
    cache.enter(0, prompt);
    // So few at once that they have the bits of single tokens.
    for (let at = 0; at < ids.length - 1; at += mostSingle)
      cache.enter(0, ids.slice(at, Math.min(at + mostSingle, ids.length - 1)));
    await cache.advance(plain.stages.length, [0]);
    // What it says and its rows of logits are two readings: a head may be screened for the one, never for the other.
    const final = plain.exits.length - 1;
    const [said] = await cache.read(final, [0], [ids.length], { logits: false });
    const [rows] = await cache.read(final, [0], [ids.length], { logits: true });
    let [agreed, loss] = [0, 0];
    for (const [i, id] of ids.entries()) {
      const { vocabulary } = plain.spec;
      const row = rows!.logits!.subarray(i * vocabulary, (i + 1) * vocabulary);
      agreed += Number(said!.readouts[i]!.token === id);
      loss += logSumExp(row) - row[id]!;
    }
    return { agreed, loss };
  } finally {
    cache.dispose();
  }
}

function logSumExp(values: Float32Array): number {
  const peak = values.reduce((a, b) => Math.max(a, b));
  return peak + Math.log(values.reduce((sum, value) => sum + Math.exp(value - peak), 0));
}

function findings(
  model: Model,
  measured: Measurements,
  ways: readonly Way[],
  scores: ReadonlyMap<string, Score>,
): Findings {
  const full = measured.get(fullDepth)!;
  const fullScore = scores.get(fullDepth)!;
  const llama = measured.get('llama.cpp');
  const speed = ({ name }: Way): number => ratioOfTotals(full, measured.get(name)!);
  const ofKind = (kind: Way['kind']): Way[] => ways.filter((way) => way.kind === kind);
  const best = (among: readonly Way[]): number => Math.max(...among.map(speed));
  const besideExact = (among: readonly Way[]): number => ratioOfTotals(measured.get(exactHead)!, full) * best(among);
  const beside = besideExactHead(model);
  const calibrated = ways.filter(({ name }) => name.startsWith(asCalibrated));
  const alone = calibrated.filter(({ name }) => name.endsWith('exits alone'));
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
      ...(agreeing.length ? [goal('`fast` at 99 % agreement ÷ own full depth', best(agreeing), 1.15, 1.6)] : []),
      ...(equal.length ? [goal('`fast` at equal quality ÷ own full depth', best(equal), 1.25, 1.8)] : []),
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
    tables: [
      {
        caption: `${model.name}: ways of decoding`,
        columns: ['', '÷ full depth', 'slowest text', 'tokens/s', 'mean layer', 'agreement', 'loss'],
        rows: [
          ...ways.map((way) => {
            const one = measured.get(way.name)!;
            const { agreement, loss, layers } = scores.get(way.name)!;
            return [
              way.name,
              figures(speed(way)),
              figures(Math.min(...one.samples.map((seconds, i) => full.samples[i]! / seconds))),
              figures((newTokens - 1) / one.median),
              `${layers.toFixed(1)} of ${model.spec.layers.length}`,
              `${(100 * agreement).toFixed(1)} %`,
              loss.toFixed(3),
            ];
          }),
          ...(llama
            ? [
                [
                  'llama.cpp',
                  figures(ratioOfTotals(full, llama)),
                  '',
                  figures((newTokens - 1) / llama.median),
                  '',
                  '',
                  '',
                ],
              ]
            : []),
        ],
      },
    ],
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

/** Over all texts together, since texts differ: theirs ÷ ours. */
function ratioOfTotals(theirs: Measurement, ours: Measurement): number {
  const total = ({ samples }: Measurement): number => samples.reduce((sum, seconds) => sum + seconds, 0);
  return total(theirs) / total(ours);
}
