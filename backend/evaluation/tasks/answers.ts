/** Writes answers with a session, many at a time: a text in a batch is what it is alone. Judges nothing. */
import type { StopReason } from '../../../protocol/trace.ts';
import type { BatchRequest } from '../../decoding/batch.ts';
import type { SequenceOptions } from '../../decoding/sequence.ts';
import type { Session } from '../../decoding/session.ts';
import type { Asked } from './ask.ts';
import { kindOf } from './kinds.ts';
import { letterOf, type Task } from './task.ts';
import type { Way } from './ways.ts';

export interface Answer {
  readonly text: string;
  readonly stop: StopReason;
  readonly tokens: number;
  /** Run for all tokens together. */
  readonly layers: number;
  /** Tokens by the exit that they left at, and by what they are. */
  readonly left: Readonly<Record<string, Readonly<Record<string, number>>>>;
}

/** One answer. `how` stands in for what the way has of it. */
export async function writeAnswer(
  session: Session,
  task: Task,
  asked: Asked,
  way: Way,
  isCancelled: () => boolean,
  how: Partial<SequenceOptions> = {},
): Promise<Answer> {
  if (asked.choices.length > 0) return likeliest(session, asked, way, isCancelled);
  const isCode = task.form === 'code' || task.form === 'fill';
  let [text, tokens, layers] = ['', 0, 0];
  let stop: StopReason = 'cancelled';
  const left: Record<string, Record<string, number>> = {};
  for await (const event of session.write([requestOf(asked, { ...way.how, ...how, isCancelled })])) {
    if (event.type === 'stop') stop = event.reason;
    if (event.type !== 'tokens') continue;
    for (const token of event.tokens) {
      text += token.text;
      tokens++;
      layers += token.layer;
      const kind = kindOf(token.text, isCode);
      const kinds = (left[token.exit] ??= {});
      kinds[kind] = (kinds[kind] ?? 0) + 1;
    }
  }
  return { text, stop, tokens, layers, left };
}

/** The letter of the choice whose log-likelihood, a byte of it, is the largest. The final exit reads all of it: no token leaves. */
async function likeliest(session: Session, asked: Asked, way: Way, isCancelled: () => boolean): Promise<Answer> {
  const likelihoods: number[] = [];
  for (const choice of asked.choices) {
    const request = requestOf(
      { ...asked, ids: [...asked.ids, ...choice], maxTokens: 0 },
      { ...way.how, isCancelled },
      0,
    );
    for await (const event of session.write([request])) {
      if (event.type === 'stop' && event.reason === 'cancelled') return { ...noAnswer, stop: 'cancelled' };
      if (event.type !== 'prompt') continue;
      const own = event.scores.slice(-choice.length);
      const sum = own.reduce((total, { logProbability }) => total + logProbability, 0);
      const bytes = Buffer.byteLength(choice.map((id) => way.how.codec.tokenText(id)).join(''));
      likelihoods.push(sum / Math.max(1, bytes));
    }
  }
  return { ...noAnswer, text: letterOf(likelihoods.indexOf(Math.max(...likelihoods))) };
}

const noAnswer: Answer = { text: '', stop: 'length', tokens: 0, layers: 0, left: {} };

export function requestOf(asked: Asked, how: SequenceOptions, scores: number | null = null): BatchRequest {
  return {
    ...how,
    prompt: asked.ids,
    begun: asked.begun,
    number: 0,
    scores,
    maxTokens: asked.maxTokens,
    stopStrings: asked.stops,
    ends: asked.ends,
    endOfText: [...how.endOfText, ...asked.endTokens],
  };
}

/**
 * What `work` makes of each item, in the order in which they are done, at most `width` at a time. The first error ends it, once those
 * under way are over.
 */
export async function* pooled<Item, Result>(
  items: readonly Item[],
  width: number,
  work: (item: Item) => Promise<Result>,
): AsyncGenerator<Result, void> {
  let next = 0;
  const running = new Map<number, Promise<{ readonly key: number; readonly result: Result }>>();
  try {
    while (next < items.length || running.size > 0) {
      while (next < items.length && running.size < width) {
        const key = next++;
        running.set(
          key,
          work(items[key]!).then((result) => ({ key, result })),
        );
      }
      const { key, result } = await Promise.race(running.values());
      running.delete(key);
      yield result;
    }
  } finally {
    await Promise.allSettled(running.values());
  }
}
