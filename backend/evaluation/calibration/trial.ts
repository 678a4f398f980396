/** Whether thresholds pay, by the clock: ways of decoding write the same texts side by side, until it is clear which is faster. */
import type { Figure } from '../../../protocol/brought.ts';
import { parseOptions } from '../../../protocol/options/options.ts';
import type { Calibration } from '../../checkpoint/checkpoint.ts';
import type { Tokenizer } from '../../data/tokenizer/tokenizer.ts';
import type { BatchRequest } from '../../decoding/batch.ts';
import type { DecodeRequest } from '../../decoding/decode.ts';
import { textDrafts } from '../../decoding/drafts/draft.ts';
import type { Gate } from '../../decoding/leaving/gate.ts';
import type { HintWeights } from '../../decoding/leaving/hints.ts';
import type { TrustByExit } from '../../decoding/leaving/trust.ts';
import { greedy } from '../../decoding/sampling/sampler.ts';
import { newPace, type PassTable } from '../../decoding/drafts/pace.ts';
import { judgedTokens } from '../../decoding/leaving/probation.ts';
import { openSession, type Session } from '../../decoding/session.ts';
import { placeStagedModel } from '../../devices/fallback.ts';
import { isClear, ratioOf, steadyTexts } from './race.ts';
import { watchLoad } from '../load.ts';
import { timeTexts } from '../side-by-side.ts';
import type { Model } from '../../model/open.ts';
import { noExits, onlyExits, type ExitSet } from '../../runtime/open.ts';
import type { StagedModel } from '../../runtime/staged-model.ts';
import type { Running } from '../../devices/fallback.ts';

/** What a way must bring to be faster by more than chance. */
export const leastSpeedup = 1.02;

/** Texts that each way writes, after one that does not count; with fewer than the minimum a difference may be chance. */
export const trialTexts = { fewest: 8, most: 16 } as const;
/**
 * Tokens of each. Exits prove themselves before they decide, and hints come with the text, so short texts say too little of them; in an answer
 * they prove themselves for some 50 tokens.
 */
export const trialTokens = (areChats: boolean): number => (areChats ? 128 : 96);
/** Tokens of a text whose time is compared. */
const fewestTimed = 16;
/** Tokens of the first text, which does not count: it builds graphs and reads the weights. */
export const warmUp = { prompt: 48, tokens: 32 } as const;
/** Length of the prompts: exits have to prove themselves within them, as they do in use. */
export const trialPrompt = judgedTokens;

/** Which exits a token may leave at, and how. */
export interface Candidate {
  readonly thresholds: Calibration['thresholds'];
  readonly gates: ReadonlyMap<string, Gate>;
  /** By exit id: how hints of the text change how sure it is. */
  readonly hints: ReadonlyMap<string, HintWeights>;
  /** By exit id: when tokens leave with a clear hint. */
  readonly trust: TrustByExit;
  /** Whether memories fill what such tokens skip. */
  readonly remembers: boolean;
  /** Whether exits were calibrated on chats: see `SequenceOptions.learnedAnswers`. */
  readonly learnedAnswers: boolean;
}

/** The exits at which its tokens leave. */
export const usedBy = ({ thresholds, trust }: Pick<Candidate, 'thresholds' | 'trust'>): string[] => [
  ...new Set([...trust.keys(), ...Object.keys(thresholds)]),
];

/** Decoding options that apply a candidate, on probation as in use. */
export const leavingBy = ({
  thresholds,
  gates,
  hints,
  trust,
  remembers,
  learnedAnswers,
}: Candidate): Pick<
  DecodeRequest,
  'policy' | 'enabled' | 'gates' | 'hints' | 'trust' | 'remembers' | 'onProbation' | 'learnedAnswers'
> => ({
  policy: { kind: 'confidence', threshold: (exit) => thresholds[exit] ?? 1 },
  enabled: (exit) => exit in thresholds || trust.has(exit),
  gates,
  hints,
  trust,
  remembers,
  onProbation: true,
  learnedAnswers,
});

/** Time at full depth, a token a pass, ÷ that of other ways. */
export interface Trial {
  /** With drafts from the text, at full depth: the mode `lossless`. */
  readonly lossless: Figure;
  /** Of leaving early; null without a candidate. */
  readonly leaving: {
    /** With drafts from the text: the mode `fast`. */
    readonly fast: Figure;
    /** Time of `lossless` ÷ that of `fast`. */
    readonly beside: Figure;
    /** Without drafts: the gain of the exits alone. */
    readonly alone: Figure;
  } | null;
  readonly texts: number;
  /** Cores that other programs kept busy meanwhile. */
  readonly busy: number;
}

interface Way {
  readonly session: Session;
  readonly different: Partial<BatchRequest>;
  /** Of a token of each text. */
  readonly milliseconds: number[];
}

/**
 * Times ways of decoding in turn, and ends early if it is clear whether leaving pays. The costs by which thresholds were chosen do not
 * include the cost of a cut, so here the model is cut only at the exits that a way uses, and at full depth not at all. Yields the number of
 * texts of all ways that are done.
 */
export async function* tryOut(
  on: {
    readonly model: Model;
    readonly exits: ExitSet;
    readonly running: Running;
    readonly tokenizer: Tokenizer;
    /** What passes of several tokens cost, by which drafts are taken. */
    readonly passes: PassTable;
  },
  prompts: readonly (readonly number[])[],
  candidate: Candidate | null,
  maxTokens: number,
  isLate: () => boolean,
  signal: AbortSignal,
): AsyncGenerator<{ readonly done: number; readonly total: number }, Trial> {
  const drafts = textDrafts(parseOptions('generate', {}).drafts);
  const opened: StagedModel[] = [];
  const open = async (exits: ExitSet): Promise<StagedModel> => {
    const staged = await placeStagedModel(on.running.placement, on.model, exits, on.running.options);
    opened.push(staged);
    return staged;
  };
  const sessionOf = async (exits: ExitSet): Promise<Session> => {
    const staged = await open(exits);
    return openSession(staged, undefined, newPace(staged, on.passes));
  };
  const way = (session: Session, different: Partial<BatchRequest>): Way => ({ session, different, milliseconds: [] });
  const leavingWays = async (one: Candidate): Promise<{ readonly fast: Way; readonly alone: Way }> => {
    const how = leavingBy(one);
    const cut = await sessionOf(onlyExits(on.exits, how.enabled));
    return { fast: way(cut, { ...how, drafts }), alone: way(cut, how) };
  };
  try {
    const plain = await sessionOf(noExits);
    const [full, lossless] = [way(plain, {}), way(plain, { drafts })];
    const leaving = candidate && (await leavingWays(candidate));
    const ways = { full, lossless, ...leaving };
    const all = Object.values(ways);
    const load = watchLoad();
    const rounds = Math.min(prompts.length, 1 + trialTexts.most);
    const total = rounds * all.length;
    for (const [i, prompt] of prompts.slice(0, rounds).entries()) {
      const turn = all.filter((one) => i <= trialTexts.fewest || !isDecided(one, ways));
      if (turn.length === 0 || (i > trialTexts.fewest && isLate())) break;
      const counts = i > 0;
      const [beginning, tokens] = counts ? [prompt, maxTokens] : [prompt.slice(-warmUp.prompt), warmUp.tokens];
      await addTimes(turn, fullDepth(on.tokenizer, beginning, tokens), counts, signal);
      yield { done: (i + 1) * all.length, total };
    }
    yield { done: total, total };
    const drafted = timesAsFast(lossless, full, full);
    const { fast, alone } = ways;
    // Most texts are of leaving beside drafts alone.
    const beside = fast && timesAsFast(fast, lossless, full);
    return {
      lossless: drafted,
      leaving:
        beside && alone ? { fast: product(drafted, beside), beside, alone: timesAsFast(alone, full, full) } : null,
      texts: lossless.milliseconds.length,
      busy: load(),
    };
  } finally {
    for (const staged of opened) {
      await staged.dispose();
    }
  }
}

interface Ways {
  readonly full: Way;
  readonly lossless: Way;
  readonly fast?: Way;
  readonly alone?: Way;
}

/**
 * Whether more texts of this way would hardly change which is fastest: drafts and exits against full depth, leaving early against drafts
 * alone.
 */
function isDecided(one: Way, { full, lossless, fast, alone }: Ways): boolean {
  const areDraftsDecided = isClear(timesAsFast(lossless, full, full), 1 / leastSpeedup);
  const isFastDecided = !fast || isClear(timesAsFast(fast, lossless, full), leastSpeedup);
  const isAloneDecided = !alone || isClear(timesAsFast(alone, full, full), 1);
  if (one === full) return areDraftsDecided && isAloneDecided;
  if (one === lossless) return areDraftsDecided && isFastDecided;
  return one === alone ? isAloneDecided : isFastDecided;
}

/** Of figures that were measured apart; errors of ratios add up as squares. */
const product = (a: Figure, b: Figure): Figure => ({
  value: a.value * b.value,
  error: a.value * b.value * Math.hypot(a.error / a.value, b.error / b.value),
});

/** Over the texts that both have written, without those at which one was held up. */
function timesAsFast(faster: Way, slower: Way, full: Way): Figure {
  const texts = steadyTexts([faster.milliseconds, slower.milliseconds], full.milliseconds);
  const times = ({ milliseconds }: Way): number[] => texts.map((i) => milliseconds[i]!);
  return ratioOf(times(slower), times(faster));
}

/**
 * Adds to each way the milliseconds of a token behind the prompt, since a text may end sooner in one way than in another; Infinity if it is
 * too short to say much.
 */
async function addTimes(
  ways: readonly Way[],
  request: BatchRequest,
  counts: boolean,
  signal: AbortSignal,
): Promise<void> {
  const texts = ways.map(({ session, different }) => ({ session, request: { ...request, ...different } }));
  const timed = await timeTexts(texts, signal);
  if (!counts) return;
  for (const [i, { seconds, tokens }] of timed.entries())
    ways[i]!.milliseconds.push(tokens < fewestTimed ? Infinity : (1000 * seconds) / tokens);
}

/** Greedy decoding of a prompt through all layers, without drafts. */
const fullDepth = (tokenizer: Tokenizer, prompt: readonly number[], maxTokens: number): BatchRequest => ({
  number: 0,
  prompt,
  begun: null,
  scores: null,
  maxTokens,
  policy: { kind: 'confidence', threshold: () => 1 },
  enabled: () => false,
  gates: new Map(),
  sampling: greedy,
  seed: 0,
  endOfText: tokenizer.eosIds,
  stopStrings: [],
  candidates: 0,
  drafts: null,
  codec: tokenizer,
});
