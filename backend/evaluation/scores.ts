/**
 * Each exit's predictions for held-out text, token by token, and the scores that follow from them. Needs states and an exit's scorer; knows
 * neither how they are computed nor how exits are tuned.
 */
import { userError } from '../../protocol/errors.ts';
import type { ExitScore } from '../../protocol/events.ts';
import { exitCut, hasBranch } from '../exits/architectures.ts';
import { exitId, shortlistOf, type ExitSpec } from '../exits/spec.ts';
import type { ParameterValues } from '../model/overlay.ts';
import { cutName, finalCut, type ModelSpec } from '../model/spec.ts';
import type { ExitScorer, Scores } from '../runtime/open.ts';
import type { FeatureSource, StepBatch } from '../features/features.ts';
import { reliabilityOf } from './reliability.ts';

/** One exit's view of every target token `[tokens]`, in the order of the text. */
export interface ExitRecord {
  readonly exit: string;
  readonly layer: number;
  /** Nats; a token outside a shortlist has the defer class's log probability less that of an even share in it. */
  readonly loss: Float32Array;
  /** The most probable token of the whole vocabulary. */
  readonly token: Int32Array;
  /** Its probability. */
  readonly confidence: Float32Array;
  /** 1 if a shortlist's defer class was more probable than any token. */
  readonly deferred: Uint8Array;
}

export interface Evaluation {
  /** The true tokens `[tokens]`. */
  readonly targets: Int32Array;
  /** In the order of the exits; the final exit's is last. */
  readonly records: readonly ExitRecord[];
  readonly scores: readonly ExitScore[];
}

/** Opens the scorer of an exit, or of the final exit if `exit` is null. */
export type OpenScorer = (
  exit: ExitSpec | null,
  parameters: ReadonlyMap<string, ParameterValues>,
) => Promise<ExitScorer>;

export interface HeldOutOptions {
  readonly spec: ModelSpec;
  /** Windows to evaluate; their states are those at every exit's cut and the final one. */
  readonly source: FeatureSource;
  readonly exits: readonly ExitSpec[];
  readonly openScorer: OpenScorer;
  /** Windows read at a time. */
  readonly batch: number;
  /** Whether the time for this is over; then fewer windows are evaluated, those that were read until then. */
  readonly over?: () => boolean;
}

/** Held-out text on which exits can be scored repeatedly; the final exit was scored once. */
export interface HeldOut {
  readonly windows: number;
  readonly targets: Int32Array;
  /** Scores every exit with these parameters. Yields how many of `total` steps are done. */
  evaluate(parameters: ReadonlyMap<string, ParameterValues>): AsyncGenerator<Done, Evaluation>;
}

export interface Done {
  readonly done: number;
  readonly total: number;
}

/** States up to this size are kept in memory; larger ones are computed again. */
const keptBytes = 256 * 2 ** 20;
/** Logits computed at a time. */
const chunkElements = 2 ** 24;

/**
 * Reads the windows through the backbone and scores the final exit. Yields the number of batches that are done.
 * @throws UserError `bad-data` if the text has no target token.
 */
export async function* openHeldOut(options: HeldOutOptions): AsyncGenerator<Done, HeldOut> {
  const { spec, source, exits, openScorer } = options;
  const cuts = new Set(exits.map((exit) => cutName(exitCut(exit))));
  const planned = batchIndices(source.windows.count, options.batch);
  const batches: number[][] = [];
  let kept: StepBatch[] | null = [];
  let bytes = 0;
  const pieces: Scored[] = [];
  const scorer = await openScorer(null, new Map());
  try {
    for (const indices of planned) {
      if (batches.length > 0 && options.over?.()) break;
      const batch = await source.batch(indices);
      batches.push(indices);
      pieces.push(await scoreBatch(spec, null, scorer, batch));
      const features = new Map([...batch.features].filter(([cut]) => cuts.has(cut)));
      for (const { byteLength } of features.values()) bytes += byteLength;
      if (bytes > keptBytes) kept = null;
      kept?.push({ ...batch, features, final: null });
      yield { done: batches.length, total: planned.length };
    }
  } finally {
    await scorer.dispose();
  }
  const targets = Int32Array.from(pieces.flatMap((piece) => [...piece.targets]));
  if (targets.length === 0) {
    throw userError(
      'bad-data',
      'The held-out text has no token to predict.',
      'Give more text, or a larger held-out share.',
    );
  }
  const final = joinPieces('final', spec.layers.length, pieces);

  return {
    targets,
    windows: batches.flat().length,
    async *evaluate(parameters) {
      const total = exits.length * batches.length;
      let done = 0;
      const records: ExitRecord[] = [];
      for (const exit of exits) {
        const scorer = await openScorer(exit, parameters);
        const scored: Scored[] = [];
        try {
          for (const [i, indices] of batches.entries()) {
            scored.push(await scoreBatch(spec, exit, scorer, kept?.[i] ?? (await source.batch(indices))));
            yield { done: ++done, total };
          }
        } finally {
          await scorer.dispose();
        }
        records.push(joinPieces(exitId(exit), exit.layer, scored));
      }
      records.push(final);
      return { targets, records, scores: records.map((record) => scoreOf(record, final, targets)) };
    },
  };
}

/** Means over all tokens. Agreement is with the final exit's most probable token. */
export function scoreOf(record: ExitRecord, final: ExitRecord, targets: Int32Array): ExitScore {
  const tokens = targets.length;
  let loss = 0;
  let right = 0;
  let agreed = 0;
  for (let i = 0; i < tokens; i++) {
    loss += record.loss[i]!;
    if (record.token[i] === targets[i]) right++;
    if (record.token[i] === final.token[i]) agreed++;
  }
  const mean = loss / tokens;
  return {
    exit: record.exit,
    layer: record.layer,
    loss: mean,
    perplexity: Math.exp(mean),
    accuracy: right / tokens,
    agreement: agreed / tokens,
    ...(record !== final && { reliability: reliabilityOf(record, final) }),
  };
}

interface Scored extends Omit<ExitRecord, 'exit' | 'layer'> {
  readonly targets: Int32Array;
}

/**
 * Only an exit with an attention of its own needs whole sequences; of the others just the positions with a target are
 * scored, some at a time, so that logits over a large vocabulary stay small.
 */
async function scoreBatch(
  spec: ModelSpec,
  exit: ExitSpec | null,
  scorer: ExitScorer,
  batch: StepBatch,
): Promise<Scored> {
  const value = batch.features.get(cutName(exit ? exitCut(exit) : finalCut(spec)))!;
  const width = value.length / batch.targets.length;
  const places = [...batch.targets.keys()].filter((i) => batch.targets[i]! >= 0);
  const classOf = classesOf(exit);
  const scored = emptyScored(places.length);
  places.forEach((place, i) => (scored.targets[i] = batch.targets[place]!));

  const keep = (scores: Scores, row: number, into: number): void => {
    const outside = classOf !== null && classOf.get(scored.targets[into]!) === undefined;
    scored.loss[into] = scores.loss[row]! + (outside ? evenShare(spec, classOf.size) : 0);
    scored.token[into] = scores.token[row]!;
    scored.confidence[into] = scores.confidence[row]!;
    scored.deferred[into] = scores.deferred[row] ? 1 : 0;
  };
  const classes = (targets: Int32Array): Int32Array =>
    classOf === null ? targets : targets.map((target) => (target < 0 ? target : (classOf.get(target) ?? classOf.size)));

  if (exit !== null && hasBranch(exit)) {
    const size = batch.tokens * width;
    let into = 0;
    for (let row = 0; row < batch.batch; row++) {
      const targets = batch.targets.subarray(row * batch.tokens, (row + 1) * batch.tokens);
      const scores = await scorer.score(
        value.subarray(row * size, (row + 1) * size),
        classes(targets),
        1,
        batch.tokens,
      );
      targets.forEach((target, i) => target >= 0 && keep(scores, i, into++));
    }
    return scored;
  }
  const chunk = Math.max(16, Math.floor(chunkElements / (classOf ? classOf.size + 1 : spec.vocabulary)));
  for (let from = 0; from < places.length; from += chunk) {
    const part = places.slice(from, from + chunk);
    const rows = new Float32Array(part.length * width);
    part.forEach((place, i) => rows.set(value.subarray(place * width, (place + 1) * width), i * width));
    const targets = scored.targets.subarray(from, from + part.length);
    const scores = await scorer.score(rows, classes(targets), 1, part.length);
    part.forEach((_, i) => keep(scores, i, from + i));
  }
  return scored;
}

/** Class of each token of a shortlist; null if classes are token ids. */
function classesOf(exit: ExitSpec | null): ReadonlyMap<number, number> | null {
  const list = shortlistOf(exit);
  return list && new Map(list.map((token, i) => [token, i]));
}

/**
 * What a token outside a shortlist of `listed` tokens costs beyond the defer class: that class's probability is shared
 * evenly among all tokens outside, so that losses compare with those of a head over the whole vocabulary.
 */
export const evenShare = (spec: ModelSpec, listed: number): number => Math.log(Math.max(1, spec.vocabulary - listed));

function emptyScored(tokens: number): Scored {
  return {
    targets: new Int32Array(tokens),
    loss: new Float32Array(tokens),
    token: new Int32Array(tokens),
    confidence: new Float32Array(tokens),
    deferred: new Uint8Array(tokens),
  };
}

function joinPieces(exit: string, layer: number, pieces: readonly Scored[]): ExitRecord {
  const joined = emptyScored(pieces.reduce((sum, { targets }) => sum + targets.length, 0));
  let at = 0;
  for (const piece of pieces) {
    joined.loss.set(piece.loss, at);
    joined.token.set(piece.token, at);
    joined.confidence.set(piece.confidence, at);
    joined.deferred.set(piece.deferred, at);
    at += piece.targets.length;
  }
  const { loss, token, confidence, deferred } = joined;
  return { exit, layer, loss, token, confidence, deferred };
}

function batchIndices(windows: number, batch: number): number[][] {
  const batches: number[][] = [];
  for (let from = 0; from < windows; from += batch) {
    batches.push(Array.from({ length: Math.min(batch, windows - from) }, (_, i) => from + i));
  }
  return batches;
}
