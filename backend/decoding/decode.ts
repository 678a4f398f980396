/**
 * Early-exit decoding of some prompts, as a generator of records: all join the batch of a session, which steps until they end. Modes: full
 * depth; `fast`, in which every token leaves at the first exit that is sure enough; lossless, in which the final exit verifies drafts in
 * one pass. A token that left early enters the deeper stages later (kv-cache.ts).
 */
import type { StopReason, TokenRecord } from '../../protocol/trace.ts';
import type { Begun } from '../data/prompts/healing.ts';
import type { BatchRequest, Ids } from './batch.ts';
import { checkPrompt } from './prompts/check-prompt.ts';
import type { SequenceOptions } from './sequence.ts';
import type { Session } from './session.ts';

export interface DecodeRequest extends SequenceOptions {
  /** One sequence each; none empty. */
  readonly prompts: readonly (readonly number[])[];
  /** What each must begin with. */
  readonly beginnings?: readonly (Begun | null)[];
}

export type DecodeEvent =
  /** All prompts are computed; `seconds`: the time of this prefill, without the tokens written in between. */
  | { readonly type: 'prompt'; readonly tokens: number; readonly seconds: number }
  | { readonly type: 'token'; readonly token: TokenRecord }
  | { readonly type: 'stop'; readonly sequence: number; readonly reason: StopReason; readonly ids: Ids };

/** @throws UserError for a prompt that cannot be read. */
export async function* decode(
  session: Session,
  { prompts, beginnings, ...options }: DecodeRequest,
): AsyncGenerator<DecodeEvent> {
  const { spec } = session.model;
  for (const [i, prompt] of prompts.entries())
    checkPrompt(prompt, spec, prompts.length === 1 ? 'The prompt' : `Prompt ${i + 1}`);
  const texts = prompts.map((prompt, number): BatchRequest => ({
    ...options,
    prompt,
    number,
    scores: null,
    begun: beginnings?.[number] ?? null,
  }));
  let [unread, seconds] = [texts.length, 0];
  for await (const event of session.write(texts)) {
    switch (event.type) {
      case 'prompt':
        unread--;
        seconds += event.seconds;
        if (unread === 0)
          yield { type: 'prompt', tokens: prompts.reduce((sum, prompt) => sum + prompt.length, 0), seconds };
        break;
      case 'tokens':
        for (const token of event.tokens) yield { type: 'token', token };
        break;
      case 'stop':
        yield { type: 'stop', sequence: event.request.number, reason: event.reason, ids: event.ids };
    }
  }
}
