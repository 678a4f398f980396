/** Ways of decoding with exits, beside the same model at full depth and llama.cpp: how fast each writes, and what the full model says of its texts. */
import path from 'node:path';
import { usedExits } from '../../../backend/checkpoint/calibration.ts';
import type { Calibration } from '../../../backend/checkpoint/checkpoint.ts';
import { loadTokenizer, type Tokenizer } from '../../../backend/data/tokenizer/tokenizer.ts';
import { textDrafts } from '../../../backend/decoding/drafts/draft.ts';
import { openKvCache } from '../../../backend/decoding/cache/kv-cache.ts';
import { openSession } from '../../../backend/decoding/session.ts';
import { leavingBy } from '../../../backend/evaluation/calibration/trial.ts';
import { keptBy } from '../kept.ts';
import type { Model } from '../../../backend/model/open.ts';
import { readExits } from '../../../backend/recipes/opening/opened.ts';
import { noExits, onlyExits, openStagedModel } from '../../../backend/runtime/open.ts';
import type { StagedModel } from '../../../backend/runtime/staged-model.ts';
import { fourTokens } from '../../../backend/runtime/ggml/tiles.ts';
import { parseOptions } from '../../../protocol/options/options.ts';
import { shownPromise } from '../../../protocol/options/promise.ts';
import { installLlama, llamaDecoder } from '../contestants/llama.ts';
import { sideBySide, type Writer } from '../contestants/side-by-side.ts';
import { alternate, ratioOfTotals, type Contestant, type Measurement, type Measurements } from '../measure.ts';
import { figures, type Table } from '../report.ts';
import { progress } from './section.ts';

const arithmetic = 'int8';
const draftLimit = parseOptions('generate', {}).drafts;

export const fullDepth = 'full depth';
/** As other engines read a head. */
export const exactHead = 'full depth, exact head';
export const asCalibrated = 'fast, calibrated';
export const exitsAlone = 'exits alone';
export const llamaName = 'llama.cpp';
/** Of this threshold, also what exits give without drafts. */
const loneThreshold = 0.8;

/** One way of decoding. */
export interface Way extends Writer {
  readonly kind: 'full' | 'fast' | 'lossless';
}

/** What is measured. */
export interface Measuring {
  readonly file: string;
  readonly model: Model;
  readonly threads: number;
  /** The folder of the exits, used as calibrated and at bare thresholds. */
  readonly exits: string;
  readonly thresholds: readonly number[];
  prompts(tokenizer: Tokenizer): Promise<readonly (readonly number[])[]>;
  readonly newTokens: number;
}

export interface MeasuredWays {
  readonly ways: readonly Way[];
  readonly measured: Measurements;
  readonly scores: ReadonlyMap<string, Score>;
  readonly newTokens: number;
}

/** Measures all ways, a text side by side in each turn; llama.cpp, if it is there and reads the file, writes it by itself. */
export async function measureWays(on: Measuring): Promise<MeasuredWays> {
  const { file, model, threads, newTokens } = on;
  const closing: (() => Promise<void>)[] = [];
  try {
    const tokenizer = loadTokenizer(file);
    const prompts = await on.prompts(tokenizer);
    const exits = await readExits(on.exits, { model, tokenizer });
    const plain = await openStagedModel(model, noExits, { arithmetic, threads });
    const exact = await openStagedModel(model, noExits, { arithmetic, threads, head: 'exact' });
    const staged = await openStagedModel(model, exits, { arithmetic, threads });
    const { calibration } = exits;
    // As generating opens it: cut only where the calibration asks.
    const kept = calibration && onlyExits(exits, (exit) => usedExits(calibration).includes(exit));
    const calibrated = kept && {
      calibration,
      model: await openStagedModel(model, kept, { arithmetic, threads }),
    };
    closing.push(
      () => plain.dispose(),
      () => exact.dispose(),
      () => staged.dispose(),
      ...(calibrated ? [() => calibrated.model.dispose()] : []),
    );
    const ways = waysOf({ plain, exact, staged, calibrated }, on.thresholds);
    const contestants: Contestant[] = [sideBySide(ways, tokenizer, prompts, newTokens)];
    if (file.endsWith('.gguf') && (await installLlama())) {
      const contextSize = Math.max(...prompts.map(({ length }) => length)) + newTokens + 8;
      const llama = await llamaDecoder({ model: path.resolve(file), threads, contextSize });
      closing.push(() => llama.dispose());
      let at = 0;
      const turn = async (): Promise<Record<string, number>> => {
        await llama.start([prompts[at++ % prompts.length]!]);
        return { [llamaName]: await llama.pull(newTokens - 1) };
      };
      contestants.push({ name: llamaName, turn });
    }
    const measured = await alternate(contestants, prompts.length, progress(`${model.name}, texts`, prompts.length));
    return { ways, measured, scores: await scoreTexts(plain, prompts, ways), newTokens };
  } finally {
    for (const close of closing.reverse()) await close();
  }
}

/** A row for each way, and one for llama.cpp. */
export function waysTable(model: Model, caption: string, { ways, measured, scores, newTokens }: MeasuredWays): Table {
  const full = measured.get(fullDepth)!;
  const llama = measured.get(llamaName);
  const rate = ({ median }: Measurement): string => figures((newTokens - 1) / median);
  return {
    caption: `${model.name}: ${caption}`,
    columns: ['', '÷ full depth', 'slowest text', 'tokens/s', 'mean layer', 'agreement', 'loss'],
    rows: [
      ...ways.map(({ name }) => {
        const one = measured.get(name)!;
        const { agreement, loss, layers } = scores.get(name)!;
        return [
          name,
          figures(ratioOfTotals(full, one)),
          figures(Math.min(...one.samples.map((seconds, i) => full.samples[i]! / seconds))),
          rate(one),
          `${layers.toFixed(1)} of ${model.spec.layers.length}`,
          `${(100 * agreement).toFixed(1)} %`,
          loss.toFixed(3),
        ];
      }),
      ...(llama ? [[llamaName, figures(ratioOfTotals(full, llama)), '', rate(llama), '', '', '']] : []),
    ],
  };
}

/** The model cut at the exits that a calibration asks. */
interface CalibratedExits {
  readonly calibration: Calibration;
  readonly model: StagedModel;
}

interface Opened extends Readonly<Record<'plain' | 'exact' | 'staged', StagedModel>> {
  readonly calibrated: CalibratedExits | null;
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
  const asPromised = ({ calibration, model }: CalibratedExits): Way[] => {
    const name = `${asCalibrated} for ${shownPromise(calibration.promise)}`;
    const how = leavingBy(keptBy(calibration));
    return [way(name, 'fast', model, { ...how, drafts: lookup }), way(`${name}, ${exitsAlone}`, 'fast', model, how)];
  };
  return [
    way(fullDepth, 'full', plain, {}),
    way(exactHead, 'full', exact, {}),
    ...(calibrated ? asPromised(calibrated) : []),
    ...thresholds.map((threshold) => fast(`fast, threshold ${threshold}`, threshold)),
    ...(thresholds.includes(loneThreshold)
      ? [fast(`fast, threshold ${loneThreshold}, ${exitsAlone}`, loneThreshold, false)]
      : []),
    way('lossless, drafts of all exits, too', 'lossless', staged, { drafts: { ...lookup, exits: () => true } }),
    way('lossless', 'lossless', plain, { drafts: lookup }),
  ];
}

export interface Score {
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
    const together = fourTokens - 1;
    for (let at = 0; at < ids.length - 1; at += together)
      cache.enter(0, ids.slice(at, Math.min(at + together, ids.length - 1)));
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
