/** Writes answers with a session, many at a time; a text is the same alone and in a batch. Judges nothing. */
import type { StopReason } from '../../../protocol/trace.ts';
import type { BatchRequest } from '../../decoding/batch.ts';
import type { SequenceOptions } from '../../decoding/sequence.ts';
import type { Session } from '../../decoding/session.ts';
import type { TaskPrompt } from './ask.ts';
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

/** One answer. `how` overrides options of the way. */
export async function writeAnswer(
  session: Session,
  task: Task,
  prompt: TaskPrompt,
  way: Way,
  isCancelled: () => boolean,
  how: Partial<SequenceOptions> = {},
): Promise<Answer> {
  if (prompt.choices.length > 0) return likeliest(session, prompt, way, isCancelled);
  const isCode = task.form === 'code' || task.form === 'fill';
  let [text, tokens, layers] = ['', 0, 0];
  let stop: StopReason = 'cancelled';
  const left: Record<string, Record<string, number>> = {};
  for await (const event of session.write([requestOf(prompt, { ...way.how, ...how, isCancelled })])) {
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

/** The letter of the choice with the largest log-likelihood per byte. The final exit scores all of it: no token leaves early. */
async function likeliest(session: Session, prompt: TaskPrompt, way: Way, isCancelled: () => boolean): Promise<Answer> {
  const likelihoods: number[] = [];
  for (const choice of prompt.choices) {
    const request = requestOf(
      { ...prompt, ids: [...prompt.ids, ...choice], maxTokens: 0 },
      { ...way.how, isCancelled },
      0,
    );
    for await (const event of session.write([request])) {
      if (event.type === 'stop' && event.reason === 'cancelled') return { ...noAnswer, stop: 'cancelled' };
      if (event.type !== 'prompt') continue;
      const own = event.scores.slice(-choice.length);
      const sum = own.reduce((total, { logProbability }) => total + logProbability, 0);
      likelihoods.push(sum / Math.max(1, Buffer.byteLength(textOf(choice, way.how.codec))));
    }
  }
  return { ...noAnswer, text: letterOf(likelihoods.indexOf(Math.max(...likelihoods))) };
}

/** Tokens alone may be parts of characters, which have no text. */
function textOf(ids: readonly number[], codec: SequenceOptions['codec']): string {
  const decoder = codec.decoder();
  return ids.map((id) => decoder.push(id)).join('') + decoder.flush();
}

const noAnswer: Answer = { text: '', stop: 'length', tokens: 0, layers: 0, left: {} };

export function requestOf(prompt: TaskPrompt, how: SequenceOptions, scores: number | null = null): BatchRequest {
  return {
    ...how,
    prompt: prompt.ids,
    begun: prompt.begun,
    number: 0,
    scores,
    isRepeatable: true,
    maxTokens: prompt.maxTokens,
    stopStrings: prompt.stops,
    ends: prompt.ends,
    endOfText: [...how.endOfText, ...prompt.endTokens],
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
