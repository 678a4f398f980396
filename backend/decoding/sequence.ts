/** One text that is being written: how, its random numbers, its characters, and the records that may be shown. */
import type { Candidate, ExitOpinion, StopReason, TokenRecord } from '../../protocol/trace.ts';
import type { Choice, DraftOptions } from './block.ts';
import type { Gate } from './gate.ts';
import { lookupIndex, type LookupIndex } from './lookup.ts';
import type { Policy } from './policy.ts';
import { seededRandom, type Random } from './random.ts';
import type { SamplingOptions } from './sampler.ts';
import { stopMatcher, type StopMatcher, type TextCodec } from './text.ts';

/** How a text is written: each of a batch has its own. */
export interface SequenceOptions {
  readonly maxTokens: number;
  readonly policy: Policy;
  /** Whether a token may leave at an exit, by its id. The final exit always may. */
  readonly enabled: (exit: string) => boolean;
  readonly sampling: SamplingOptions;
  /** Whether exits' memories fill what tokens skip that leave there; else they wait for the next that goes deeper. */
  readonly remembers?: boolean;
  /** Guesses by exit id whether a reading pays; an exit without one is always read. */
  readonly gates: ReadonlyMap<string, Gate>;
  /** So many most probable tokens of every exit are reported. */
  readonly candidates: number;
  /** So many most probable tokens of the exit that a token leaves at are reported. */
  readonly alternatives?: number;
  readonly seed: number;
  readonly endOfText: readonly number[];
  /** The token that ends the text has a record, too, which says nothing: for who asks how probable it was. */
  readonly recordsEnd?: boolean;
  readonly stopStrings: readonly string[];
  /** How tokens are drafted; null: not at all. Drafts never change the text, only the time. */
  readonly drafts: DraftOptions | null;
  readonly codec: TextCodec;
  /** Asked before each token. */
  readonly isCancelled?: () => boolean;
}

export interface Sequence {
  readonly number: number;
  readonly options: SequenceOptions;
  readonly promptTokens: number;
  readonly random: Random;
  /** Every token so far, prompt included, for the repetition penalty. */
  readonly seen: Set<number>;
  /** Null where the text does not draft. */
  readonly lookup: LookupIndex | null;
  readonly decoder: ReturnType<TextCodec['decoder']>;
  readonly stops: StopMatcher;
  /** Tokens generated. */
  count: number;
  /** Records whose text may still turn out to begin a stop string. */
  held: TokenRecord[];
  /** Characters in records that were released. */
  released: number;
}

export function newSequence(number: number, prompt: readonly number[], options: SequenceOptions): Sequence {
  const lookup = options.drafts?.lookup ? lookupIndex() : null;
  lookup?.add(prompt);
  return {
    number,
    options,
    promptTokens: prompt.length,
    random: seededRandom(options.seed + number),
    seen: new Set(prompt),
    lookup,
    decoder: options.codec.decoder(),
    stops: stopMatcher(options.stopStrings),
    count: 0,
    held: [],
    released: 0,
  };
}

/** What became certain of a text, and why it ends here; null where it goes on. */
export interface Written {
  readonly records: TokenRecord[];
  readonly reason: StopReason | null;
}

/** Takes what was decided together into the text. `contextLength`: what the model sees, in tokens. */
export function write(sequence: Sequence, choices: readonly Choice[], contextLength: number): Written {
  const written: TokenRecord[] = [];
  let reason: StopReason | null = null;
  for (const choice of choices) {
    if (sequence.options.endOfText.includes(choice.token)) {
      if (sequence.options.recordsEnd) sequence.held.push(recordOf(sequence, choice, ''));
      reason = 'end-of-text';
    } else {
      const { records, stopped } = addToken(sequence, choice);
      written.push(...records);
      reason = stopped ? 'stop-string' : endReason(sequence, contextLength);
    }
    if (reason !== null) break;
  }
  if (reason !== null && reason !== 'stop-string') written.push(...finishText(sequence));
  return { records: written, reason };
}

function endReason({ count, promptTokens, options }: Sequence, contextLength: number): StopReason | null {
  if (count >= options.maxTokens) return 'length';
  if (promptTokens + count >= contextLength) return 'context-full';
  return options.isCancelled?.() ? 'cancelled' : null;
}

/** Takes a token into the text; returns the records whose text is now certain, and whether a stop string ended it. */
function addToken(sequence: Sequence, choice: Choice): { records: TokenRecord[]; stopped: boolean } {
  const text = sequence.decoder.push(choice.token);
  sequence.held.push(recordOf(sequence, choice, text));
  sequence.count++;
  sequence.lookup?.add([choice.token]);
  const { safe, stopped } = sequence.stops.push(text);
  return { records: release(sequence, safe, stopped), stopped };
}

/** What was decided of the next token, which adds `text`. */
function recordOf({ number, count, options }: Sequence, choice: Choice, text: string): TokenRecord {
  const { token: id, exit, readout } = choice;
  const { codec, candidates: shown, alternatives = 0 } = options;
  const named = (c: { id: number; probability: number }): Candidate => ({ ...c, text: codec.tokenText(c.id) });
  const opinion = ({ exit: e, readout: r }: Choice['opinions'][number]): ExitOpinion => {
    const candidates = r.candidates.slice(0, shown).map(named);
    const token = r.token < 0 ? null : candidates[0]!;
    return { exit: e.id, layer: e.layer, confidence: r.confidence, token, candidates };
  };
  return {
    sequence: number,
    index: count,
    id,
    text,
    layer: exit.layer,
    exit: exit.id,
    confidence: choice.probability,
    ...(choice.draft && { draft: { source: choice.draft.source, accepted: choice.draft.token === id } }),
    ...(choice.opinions.length && { opinions: choice.opinions.map(opinion) }),
    ...(alternatives > 0 && { alternatives: readout.candidates.slice(0, alternatives).map(named) }),
  };
}

/** The text ends here: everything held is certain. A character that is not complete is left out. */
export const finishText = (sequence: Sequence): TokenRecord[] => release(sequence, Infinity, false);

/** Releases held records up to `safe` characters; a stop string ends the text there and drops what lies behind. */
function release(sequence: Sequence, safe: number, stopped: boolean): TokenRecord[] {
  const records: TokenRecord[] = [];
  while (sequence.held.length) {
    const record = sequence.held[0]!;
    const end = sequence.released + record.text.length;
    if (end > safe) {
      if (!stopped) break;
      if (sequence.released < safe) records.push({ ...record, text: record.text.slice(0, safe - sequence.released) });
      sequence.held = [];
      break;
    }
    records.push(record);
    sequence.released = end;
    sequence.held.shift();
  }
  return records;
}
