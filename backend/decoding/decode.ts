/**
 * Early-exit decoding of a batch: every sequence asks the exits in the order of the stream and leaves at the first that is
 * sure enough; what it skipped enters the deeper stages later (kv-cache.ts). Yields a record a token.
 */
import type { Candidate, ExitOpinion, StopReason, TokenRecord } from '../../protocol/trace.ts';
import { userError } from '../../protocol/errors.ts';
import type { ExitPoint, Readout, StagedModel } from '../runtime/staged-model.ts';
import { openKvCache, type KvCache, type RowReadout } from './kv-cache.ts';
import { leaves, type Policy } from './policy.ts';
import { seededRandom, type Random } from './random.ts';
import { needsLogits, sample, type SamplingOptions } from './sampler.ts';
import { stopMatcher, type StopMatcher, type TextCodec } from './text.ts';

export interface DecodeRequest {
  /** One sequence each; none empty. */
  readonly prompts: readonly (readonly number[])[];
  readonly maxTokens: number;
  readonly policy: Policy;
  /** Whether an exit may be left at, by its id. The final exit always may. */
  readonly enabled: (exit: string) => boolean;
  readonly sampling: SamplingOptions;
  readonly seed: number;
  readonly endOfText: readonly number[];
  readonly stopStrings: readonly string[];
  /** Candidates of every exit on each token; 0: none are asked beyond the one a token left at. */
  readonly candidates: number;
  readonly codec: TextCodec;
  /** Asked before each token. */
  readonly isCancelled?: () => boolean;
}

export type DecodeEvent =
  | { readonly type: 'prompt'; readonly tokens: number; readonly seconds: number }
  | { readonly type: 'token'; readonly token: TokenRecord }
  | { readonly type: 'stop'; readonly sequence: number; readonly reason: StopReason };

/** A sequence that is being written. */
interface Sequence {
  readonly number: number;
  readonly random: Random;
  readonly seen: Set<number>;
  readonly decoder: ReturnType<TextCodec['decoder']>;
  readonly stops: StopMatcher;
  /** Chosen but not yet in the model. */
  next: number;
  count: number;
  /** Records whose text may still turn out to begin a stop string. */
  held: TokenRecord[];
  released: number;
}

/** What was decided for one token of one row. */
export interface Choice {
  readonly token: number;
  readonly exit: ExitPoint;
  readonly readout: Readout;
  /** In the order of the exits, where candidates were asked for. */
  readonly opinions: readonly { exit: ExitPoint; readout: Readout }[];
}

/**
 * @throws UserError for an empty prompt or one longer than the model's context.
 */
export async function* decode(model: StagedModel, request: DecodeRequest): AsyncGenerator<DecodeEvent> {
  const { prompts, maxTokens, endOfText, codec } = request;
  checkPrompts(model, prompts);
  const cache = openKvCache(model, prompts.length);
  let sequences = prompts.map((prompt, i) => newSequence(request, i, prompt));
  const started = performance.now();
  for (const [row, prompt] of prompts.entries()) cache.enter(row, prompt);

  for (let step = 0; sequences.length > 0; step++) {
    const choices = await chooseTokens(model, cache, request, sequences);
    if (step === 0) {
      const tokens = prompts.reduce((sum, prompt) => sum + prompt.length, 0);
      yield { type: 'prompt', tokens, seconds: (performance.now() - started) / 1000 };
    }
    const kept: number[] = [];
    for (const [row, sequence] of sequences.entries()) {
      const choice = choices[row]!;
      const isEnd = endOfText.includes(choice.token);
      const { records, stopped } = isEnd ? finishText(sequence) : addToken(sequence, choice, request);
      for (const token of records) yield { type: 'token', token };
      const isFull = cache.position(row) + 1 >= model.spec.contextLength;
      const reason = endReason({
        isEnd,
        stopped,
        isLong: sequence.count >= maxTokens,
        isFull,
        isCancelled: request.isCancelled?.() ?? false,
      });
      if (reason === null) {
        kept.push(row);
      } else {
        if (!isEnd && !stopped) for (const token of finishText(sequence).records) yield { type: 'token', token };
        yield { type: 'stop', sequence: sequence.number, reason };
      }
    }
    cache.keep(kept);
    sequences = kept.map((row) => sequences[row]!);
    for (const [row, sequence] of sequences.entries()) cache.enter(row, [sequence.next]);
  }

  function newSequence({ seed, stopStrings }: DecodeRequest, number: number, prompt: readonly number[]): Sequence {
    return {
      number,
      random: seededRandom(seed + number),
      seen: new Set(prompt),
      decoder: codec.decoder(),
      stops: stopMatcher(stopStrings),
      next: -1,
      count: 0,
      held: [],
      released: 0,
    };
  }
}

function checkPrompts(model: StagedModel, prompts: readonly (readonly number[])[]): void {
  for (const [i, prompt] of prompts.entries()) {
    const name = prompts.length === 1 ? 'The prompt' : `Prompt ${i + 1}`;
    if (prompt.length === 0) throw userError('bad-argument', `${name} is empty.`, 'Give at least one token of text.');
    if (prompt.length >= model.spec.contextLength) {
      throw userError(
        'bad-argument',
        `${name} has ${prompt.length} tokens, but the model sees ${model.spec.contextLength}.`,
        'Shorten it.',
      );
    }
  }
}

/** Goes through the exits with the rows that are still undecided. */
async function chooseTokens(
  model: StagedModel,
  cache: KvCache,
  request: DecodeRequest,
  sequences: readonly Sequence[],
): Promise<Choice[]> {
  const logits = needsLogits(request.sampling);
  const wantsOpinions = request.candidates > 0;
  const choices: (Omit<Choice, 'opinions'> | undefined)[] = sequences.map(() => undefined);
  const said: { exit: ExitPoint; readout: Readout }[][] = sequences.map(() => []);
  for (const [k, exit] of model.exits.entries()) {
    const isFinal = exit.spec === null;
    const undecided = [...sequences.keys()].filter((row) => choices[row] === undefined);
    const asked = wantsOpinions ? [...sequences.keys()] : undecided;
    if (asked.length === 0) break;
    if (!isFinal && !request.enabled(exit.id) && !wantsOpinions) continue;
    await cache.advance(exit.stages, asked);
    const results = await cache.read(k, asked, 1, { logits });
    for (const [i, row] of asked.entries()) {
      const result = results[i]!;
      const readout = result.readouts[0]!;
      const earlier = said[row]!.filter((s) => request.enabled(s.exit.id)).map((s) => s.readout);
      if (
        choices[row] === undefined &&
        (isFinal || (request.enabled(exit.id) && leaves(request.policy, exit.id, readout, earlier)))
      ) {
        choices[row] = { token: pick(result, request.sampling, sequences[row]!), exit, readout };
      }
      said[row]!.push({ exit, readout });
    }
  }
  return choices.map((choice, row) => ({ ...choice!, opinions: wantsOpinions ? said[row]! : [] }));
}

const pick = ({ readouts, logits }: RowReadout, sampling: SamplingOptions, sequence: Sequence): number =>
  logits ? sample(logits, sampling, sequence.seen, sequence.random) : readouts[0]!.candidates[0]!.id;

/** Takes a token into the text; returns the records whose text is now certain. */
function addToken(
  sequence: Sequence,
  choice: Choice,
  request: DecodeRequest,
): { records: TokenRecord[]; stopped: boolean } {
  const { token: id, exit, readout } = choice;
  const text = sequence.decoder.push(id);
  const shown = (c: { id: number; probability: number }): Candidate => ({ ...c, text: request.codec.tokenText(c.id) });
  const opinion = ({ exit: e, readout: r }: Choice['opinions'][number]): ExitOpinion => {
    const candidates = r.candidates.slice(0, request.candidates).map(shown);
    return {
      exit: e.id,
      layer: e.layer,
      confidence: r.confidence,
      token: r.token < 0 ? null : candidates[0]!,
      candidates,
    };
  };
  sequence.held.push({
    sequence: sequence.number,
    index: sequence.count,
    id,
    text,
    layer: exit.layer,
    exit: exit.id,
    confidence: readout.candidates.find((c) => c.id === id)?.probability ?? readout.confidence,
    ...(choice.opinions.length ? { opinions: choice.opinions.map(opinion) } : {}),
  });
  sequence.next = id;
  sequence.count++;
  sequence.seen.add(id);
  const { safe, stopped } = sequence.stops.push(text);
  return { records: release(sequence, safe, stopped), stopped };
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

/** The text ends here: everything held is certain, and an incomplete character shows as it is. */
function finishText(sequence: Sequence): { records: TokenRecord[]; stopped: false } {
  const records = sequence.held;
  const rest = sequence.decoder.flush();
  const last = records.at(-1);
  if (rest && last) records[records.length - 1] = { ...last, text: last.text + rest };
  sequence.held = [];
  return { records, stopped: false };
}

function endReason(facts: {
  isEnd: boolean;
  stopped: boolean;
  isLong: boolean;
  isFull: boolean;
  isCancelled: boolean;
}): StopReason | null {
  if (facts.isEnd) return 'end-of-text';
  if (facts.stopped) return 'stop-string';
  if (facts.isLong) return 'length';
  if (facts.isFull) return 'context-full';
  return facts.isCancelled ? 'cancelled' : null;
}
