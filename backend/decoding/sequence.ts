/** One text that is being written: how, its random numbers, its characters, and the records that may be shown. */
import type { Candidate, StopReason, TokenRecord } from '../../protocol/trace.ts';
import type { Allowed } from '../data/prompts/allowed.ts';
import { textBeforeGap } from '../data/prompts/fim.ts';
import { fits, leftBehind, respelling, type Begun } from '../data/prompts/healing.ts';
import { newHints, type Hints } from '../data/hints.ts';
import { lookupIndex, type LookupIndex } from '../data/lookup.ts';
import type { Choice, DraftOptions } from './block.ts';
import type { Gate } from './leaving/gate.ts';
import type { HintWeights } from './leaving/hints.ts';
import { opinionOf } from './leaving/opinions.ts';
import type { Policy } from './leaving/policy.ts';
import type { Probation } from './leaving/probation.ts';
import { seededRandom, type Random } from './sampling/random.ts';
import type { SamplingOptions } from './sampling/sampler.ts';
import type { TrustByExit } from './leaving/trust.ts';
import { firstEnd, stopStringEnd, type TextCodec, type TextEnd } from './text.ts';

/** How a text is written: each of a batch has its own. */
export interface SequenceOptions {
  readonly maxTokens: number;
  readonly policy: Policy;
  /** Whether a token may leave at an exit, by its id. The final exit always may. */
  readonly enabled: (exit: string) => boolean;
  readonly sampling: SamplingOptions;
  /** Whether exits must prove themselves in the text before they decide; see probation.ts. */
  readonly onProbation?: boolean;
  /** By exit id: how hints of the text change how sure an exit is; an exit without them takes none. */
  readonly hints?: ReadonlyMap<string, HintWeights>;
  /** By exit id: when tokens leave with a clear hint of the text. */
  readonly trust?: TrustByExit;
  /** Whether the exits on probation learned answers alone: in a prompt they are not compared with the full model. */
  readonly learnedAnswers?: boolean;
  /** Whether exits are compared again in a prompt that is remembered: the text that read it had other thresholds, hints or trust. */
  readonly checksAnew?: boolean;
  /** Whether exits' memories fill the layers that tokens left out; otherwise these tokens wait for the next one that goes deeper. */
  readonly remembers?: boolean;
  /** The layer of the exit at which most of the prompt stops; null: it goes through all layers. */
  readonly promptExit?: number | null;
  /** Guesses by exit id whether a reading pays; an exit without one is always read. */
  readonly gates: ReadonlyMap<string, Gate>;
  /** The number of most probable tokens of every exit that are reported. */
  readonly candidates: number;
  /** The number of most probable tokens that are reported of the exit at which a token leaves. */
  readonly alternatives?: number;
  /** Whether probabilities are what is requested: they are then those of the whole head, not of a screened one. */
  readonly isMeasured?: boolean;
  readonly seed: number;
  readonly endOfText: readonly number[];
  /** The token that ends the text has a record, too, without text: for requests of its probability. */
  readonly recordsEnd?: boolean;
  readonly stopStrings: readonly string[];
  /** What else ends a text. */
  readonly ends?: readonly (() => TextEnd)[];
  /** Tokens that only repeat what was taken off the prompt have records, too, without text: for callers that continue from them. */
  readonly recordsBegun?: boolean;
  /** How tokens are drafted; null: not at all. Drafts never change the text, only the time. */
  readonly drafts: DraftOptions | null;
  readonly codec: TextCodec;
  /** Called before each token. */
  readonly isCancelled?: () => boolean;
}

export interface Sequence {
  readonly number: number;
  readonly options: SequenceOptions;
  readonly promptTokens: number;
  readonly random: Random;
  /** Null if exits decide from the first token on. */
  readonly probation: Probation | null;
  /** For penalties. */
  readonly seen: { readonly all: Set<number>; readonly written: Map<number, number> };
  /** Null if no exit takes hints. A text that fills a gap takes none of what stands behind it: that would be written twice. */
  readonly hints: Hints | null;
  /** Null if the text does not draft. */
  readonly lookup: LookupIndex | null;
  readonly decoder: ReturnType<TextCodec['decoder']>;
  readonly end: TextEnd;
  /** What the next token may be; null: any. */
  allowed: Allowed | null;
  /** The rest of what was taken off the prompt and must still be written; null: nothing. */
  begun: Begun | null;
  /** Characters of that rest. */
  known: number;
  /** Tokens generated, without those that only repeat what was taken off. */
  count: number;
  /** Tokens that only repeat it. */
  respelled: number;
  /** Records whose text may still become the beginning of a stop string. */
  heldBack: TokenRecord[];
  /** Characters in records that were released. */
  released: number;
}

/**
 * `begun`: what was taken off the prompt, with which the text must begin and which is not reported again (data/prompts/healing.ts);
 * `allowed`: what its tokens may be otherwise.
 */
export function newSequence(
  number: number,
  prompt: readonly number[],
  options: SequenceOptions,
  begun: Begun | null = null,
  allowed: Allowed | null = null,
  probation: Probation | null = null,
): Sequence {
  const lookup = options.drafts?.lookup ? lookupIndex(options.drafts.others) : null;
  lookup?.add(prompt);
  return {
    number,
    options,
    promptTokens: prompt.length,
    random: seededRandom(options.seed + number),
    probation,
    hints: options.hints?.size || options.trust?.size ? newHints(textBeforeGap(prompt, options.codec.fim)) : null,
    seen: { all: new Set(prompt), written: new Map() },
    lookup,
    decoder: options.codec.decoder(),
    end: firstEnd([stopStringEnd(options.stopStrings), ...(options.ends ?? []).map((end) => end())]),
    allowed: begun ? respelling(begun) : allowed,
    begun,
    known: begun ? Buffer.from(begun.bytes).toString('utf8').length : 0,
    count: 0,
    respelled: 0,
    heldBack: [],
    released: 0,
  };
}

/** Records that became certain, and why the text ends here; null if it continues. */
export interface Written {
  readonly records: TokenRecord[];
  readonly reason: StopReason | null;
  /** The stop string that ends it, if one of those that were requested does. */
  readonly stop?: string;
}

/** Adds the tokens that were decided together to the text. `contextLength`: most tokens that the model can attend to. */
export function write(sequence: Sequence, choices: readonly Choice[], contextLength: number): Written {
  const written: TokenRecord[] = [];
  let reason: StopReason | null = null;
  for (const choice of choices) {
    if (sequence.options.endOfText.includes(choice.token)) {
      if (sequence.options.recordsEnd) sequence.heldBack.push(recordOf(sequence, choice, ''));
      reason = 'end-of-text';
    } else {
      const added = addToken(sequence, choice);
      written.push(...added.records);
      if (added.reason !== null) return { ...added, records: written };
      reason = endReason(sequence, contextLength);
    }
    if (reason !== null) break;
  }
  // Of a cancelled text only certain characters are released, so that it stays a beginning of the whole text.
  if (reason !== null && reason !== 'cancelled') written.push(...finishText(sequence));
  return { records: written, reason };
}

function endReason(sequence: Sequence, contextLength: number): StopReason | null {
  const { count, respelled, promptTokens, options, allowed } = sequence;
  // Nothing may follow, so no further pass is needed.
  if (allowed?.end) return allowed.end === 'complete' ? 'end-of-text' : 'length';
  if (count >= options.maxTokens) return 'length';
  if (promptTokens + respelled + count >= contextLength) return 'context-full';
  return options.isCancelled?.() ? 'cancelled' : null;
}

/** Adds a token to the text; returns the records whose text is now certain, and the reason if the text ends there. */
function addToken(sequence: Sequence, choice: Choice): Written {
  sequence.allowed = sequence.allowed?.after(choice.token) ?? null;
  const text = withoutBegun(sequence, choice.token, sequence.decoder.push(choice.token));
  if (text === null) {
    sequence.respelled++;
    return { records: sequence.options.recordsBegun ? [recordOf(sequence, choice, '')] : [], reason: null };
  }
  sequence.heldBack.push(recordOf(sequence, choice, text));
  sequence.count++;
  const { safe, ...end } = sequence.end.push(text);
  return { records: release(sequence, safe, end.reason !== null), ...end };
}

/** The characters that a token adds after what was taken off the prompt; null if it adds none. */
function withoutBegun(sequence: Sequence, token: number, text: string): string | null {
  const { begun, known } = sequence;
  if (begun === null) return text;
  const bytes = begun.tokens.bytesOf(token);
  if (!fits(begun.bytes, bytes)) {
    // No token of the vocabulary could go on with it.
    sequence.begun = null;
    return text;
  }
  const left = leftBehind(begun.bytes, bytes);
  sequence.begun = left.length > 0 ? { ...begun, bytes: left } : null;
  sequence.known = Math.max(0, known - text.length);
  return bytes.length <= begun.bytes.length ? null : text.slice(known);
}

/** What was decided of the next token, which adds `text`. */
function recordOf({ number, count, options }: Sequence, choice: Choice, text: string): TokenRecord {
  const { token: id, exit, readout } = choice;
  const { codec, candidates: shown, alternatives = 0 } = options;
  const named = (c: { id: number; probability: number }): Candidate => ({ ...c, text: codec.tokenText(c.id) });
  return {
    sequence: number,
    index: count,
    id,
    text,
    layer: exit.layer,
    exit: exit.id,
    confidence: choice.probability,
    ...(choice.draft && { draft: { source: choice.draft.source, accepted: choice.draft.token === id } }),
    ...(choice.opinions.length && {
      opinions: choice.opinions.map((one) => opinionOf(one.exit, one.readout, shown, codec)),
    }),
    ...(alternatives > 0 && { alternatives: readout.candidates.slice(0, alternatives).map(named) }),
  };
}

/** Ends the text for a reason outside of it. An incomplete character is left out. */
const finishText = (sequence: Sequence): TokenRecord[] => release(sequence, sequence.end.settled(), true);

/** Releases held records up to `safe` characters. If the text is over, it ends there, and the rest is dropped. */
function release(sequence: Sequence, safe: number, isOver: boolean): TokenRecord[] {
  const records: TokenRecord[] = [];
  while (sequence.heldBack.length) {
    const record = sequence.heldBack[0]!;
    const end = sequence.released + record.text.length;
    if (end > safe) {
      if (!isOver) break;
      if (sequence.released < safe) records.push({ ...record, text: record.text.slice(0, safe - sequence.released) });
      sequence.heldBack = [];
      break;
    }
    records.push(record);
    sequence.released = end;
    sequence.heldBack.shift();
  }
  return records;
}
