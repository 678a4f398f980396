/** One text that is being written: its random numbers, its characters, and the records that may be shown. */
import type { Candidate, ExitOpinion, TokenRecord } from '../../protocol/trace.ts';
import type { Choice, DraftOptions } from './block.ts';
import { lookupIndex, type LookupIndex } from './lookup.ts';
import { seededRandom, type Random } from './random.ts';
import { stopMatcher, type StopMatcher, type TextCodec } from './text.ts';

export interface Sequence {
  readonly number: number;
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

export function newSequence(
  number: number,
  prompt: readonly number[],
  options: {
    readonly seed: number;
    readonly stopStrings: readonly string[];
    readonly codec: TextCodec;
    readonly drafts: DraftOptions | null;
  },
): Sequence {
  const lookup = options.drafts?.lookup ? lookupIndex() : null;
  lookup?.add(prompt);
  return {
    number,
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

/** Takes a token into the text; returns the records whose text is now certain, and whether a stop string ended it. */
export function addToken(
  sequence: Sequence,
  choice: Choice,
  options: { readonly candidates: number; readonly codec: TextCodec },
): { records: TokenRecord[]; stopped: boolean } {
  const { token: id, exit, readout } = choice;
  const text = sequence.decoder.push(id);
  const named = (c: { id: number; probability: number }): Candidate => ({ ...c, text: options.codec.tokenText(c.id) });
  const opinion = ({ exit: e, readout: r }: Choice['opinions'][number]): ExitOpinion => {
    const candidates = r.candidates.slice(0, options.candidates).map(named);
    const token = r.token < 0 ? null : candidates[0]!;
    return { exit: e.id, layer: e.layer, confidence: r.confidence, token, candidates };
  };
  sequence.held.push({
    sequence: sequence.number,
    index: sequence.count,
    id,
    text,
    layer: exit.layer,
    exit: exit.id,
    confidence: readout.candidates.find((c) => c.id === id)?.probability ?? readout.confidence,
    ...(choice.draft && { draft: { source: choice.draft.source, accepted: choice.draft.token === id } }),
    ...(choice.opinions.length && { opinions: choice.opinions.map(opinion) }),
  });
  sequence.count++;
  sequence.lookup?.add([id]);
  const { safe, stopped } = sequence.stops.push(text);
  return { records: release(sequence, safe, stopped), stopped };
}

/** The text ends here: everything held is certain, and an incomplete character shows as it is. */
export function finishText(sequence: Sequence): TokenRecord[] {
  const records = sequence.held;
  const rest = sequence.decoder.flush();
  const last = records.at(-1);
  if (rest && last) records[records.length - 1] = { ...last, text: last.text + rest };
  sequence.held = [];
  return records;
}

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
