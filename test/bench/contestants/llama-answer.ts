/** An answer of llama.cpp's to a task: its most probable token each time, up to where one of ours would end. */
import type { TextCodec } from '../../../backend/decoding/text.ts';
import { firstEnd, stopStringEnd } from '../../../backend/decoding/text.ts';
import type { TaskPrompt } from '../../../backend/evaluation/tasks/ask.ts';
import type { StopReason } from '../../../protocol/trace.ts';

export interface LlamaAnswer {
  readonly text: string;
  readonly stop: StopReason;
  readonly tokens: number;
  /** After the prompt, whose pass gives the first token. */
  readonly seconds: number;
}

export interface LlamaToken {
  readonly token: number;
  readonly seconds: number;
}

/** The next token; `prompt` is given for the first one. */
export type NextToken = (prompt: readonly number[] | null) => Promise<LlamaToken>;

/** What was taken off a prompt's end stays on it: llama.cpp does not restrict tokens. */
export const promptIds = (
  { ids, begun }: TaskPrompt,
  encode: (text: string) => readonly number[],
): readonly number[] => (begun === null ? ids : [...ids, ...encode(Buffer.from(begun.bytes).toString('utf8'))]);

/** `endOfText`: tokens that end a text, beside those of the prompt's form. */
export async function llamaAnswer(
  next: NextToken,
  ids: readonly number[],
  { maxTokens, stops, ends, endTokens }: Pick<TaskPrompt, 'maxTokens' | 'stops' | 'ends' | 'endTokens'>,
  codec: TextCodec,
  endOfText: readonly number[],
): Promise<LlamaAnswer> {
  const end = firstEnd([stopStringEnd(stops), ...ends.map((each) => each())]);
  const decoder = codec.decoder();
  let [text, tokens, seconds] = ['', 0, 0];
  for (;;) {
    const given = await next(tokens === 0 ? ids : null);
    if (tokens > 0) seconds += given.seconds;
    const settled = (stop: StopReason): LlamaAnswer => ({ text: text.slice(0, end.settled()), stop, tokens, seconds });
    if (endOfText.includes(given.token) || endTokens.includes(given.token)) return settled('end-of-text');
    const piece = decoder.push(given.token);
    text += piece;
    tokens++;
    const { safe, reason } = end.push(piece);
    if (reason !== null) return { text: text.slice(0, safe), stop: reason, tokens, seconds };
    if (tokens >= maxTokens) return settled('length');
  }
}
