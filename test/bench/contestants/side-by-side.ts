/** Ways of decoding as one contestant, which writes the same text in all of them, a pass of each in turn. */
import type { Tokenizer } from '../../../backend/data/tokenizer/tokenizer.ts';
import type { BatchEvent, BatchRequest } from '../../../backend/decoding/batch.ts';
import type { Session } from '../../../backend/decoding/session.ts';
import { timeSideBySide } from '../../../backend/evaluation/side-by-side.ts';
import type { TokenRecord } from '../../../protocol/trace.ts';
import type { Contestant } from '../measure.ts';
import { endlessRequest } from './ours.ts';

/** One way of decoding. */
export interface Writer {
  readonly name: string;
  readonly session: Session;
  /** What differs from full depth without drafts. */
  readonly different: Partial<BatchRequest>;
  /** What it wrote last behind each prompt. */
  readonly texts: TokenRecord[][];
}

/** In each turn all ways write the next prompt's text side by side. */
export function sideBySide(
  ways: readonly Writer[],
  tokenizer: Tokenizer,
  prompts: readonly (readonly number[])[],
  maxTokens: number,
): Contestant {
  let turns = 0;
  return {
    name: 'ours',
    async turn() {
      const at = turns % prompts.length;
      // None always follows the same one.
      const order = ways.map((_, i) => ways[(i + turns) % ways.length]!);
      turns++;
      const prompt = prompts[at]!;
      // Chats begin alike, and a text must not depend on the one before.
      const from = { prompt, isRepeatable: true, number: 0, scores: null, begun: null, maxTokens };
      const plain = { ...endlessRequest(tokenizer, [prompt]), ...from };
      const writing = order.map(({ session, different, texts }) => {
        texts[at] = [];
        return recorded(session.write([{ ...plain, ...different }]), texts[at]);
      });
      const timed = await timeSideBySide(writing);
      return Object.fromEntries(order.map(({ name }, i) => [name, timed[i]!.seconds]));
    },
  };
}

/** The same events, their tokens added to `records`. */
async function* recorded(
  events: AsyncIterable<BatchEvent<BatchRequest>>,
  records: TokenRecord[],
): AsyncGenerator<BatchEvent<BatchRequest>> {
  for await (const event of events) {
    if (event.type === 'tokens') records.push(...event.tokens);
    yield event;
  }
}
