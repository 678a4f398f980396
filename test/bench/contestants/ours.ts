/** This project's decoding as a contestant. */
import { decode, type DecodeEvent, type DecodeRequest } from '../../../backend/decoding/decode.ts';
import { openSession, type Session } from '../../../backend/decoding/session.ts';
import { greedy } from '../../../backend/decoding/sampling/sampler.ts';
import type { TextCodec } from '../../../backend/decoding/text.ts';
import type { StagedModel } from '../../../backend/runtime/staged-model.ts';
import type { Decoder } from './decoder.ts';

/** Greedy, endless, at full depth unless told otherwise. */
export const endlessRequest = (codec: TextCodec, prompts: DecodeRequest['prompts']): DecodeRequest => ({
  prompts,
  maxTokens: Infinity,
  policy: { kind: 'confidence', threshold: () => 1 },
  enabled: () => false,
  sampling: greedy,
  seed: 1,
  endOfText: [],
  stopStrings: [],
  gates: new Map(),
  candidates: 0,
  drafts: null,
  codec,
});

/** What the model says after each prompt, greedily: `newTokens` ids each, this number of prompts at once. */
export async function writeTexts(
  model: StagedModel,
  codec: TextCodec,
  prompts: DecodeRequest['prompts'],
  { batch, newTokens, drafts }: { batch: number; newTokens: number; drafts: DecodeRequest['drafts'] },
): Promise<number[][]> {
  const session = openSession(model);
  const texts: number[][] = prompts.map(() => []);
  for (let first = 0; first < prompts.length; first += batch) {
    const some = prompts.slice(first, first + batch);
    const request = { ...endlessRequest(codec, some), maxTokens: newTokens, drafts };
    for await (const event of decode(session, request)) {
      if (event.type === 'token') texts[first + event.token.sequence]!.push(event.token.id);
    }
  }
  session.dispose();
  return texts;
}

/** Full depth; `model` stays its owner's. */
export function ourDecoder(model: StagedModel, codec: TextCodec): Decoder {
  let session: Session | null = null;
  let events: AsyncGenerator<DecodeEvent> | null = null;
  let sequences = 0;
  const take = async (tokens: number): Promise<void> => {
    for (let left = tokens * sequences; left > 0;) {
      const next = await events!.next();
      if (next.done) throw new Error('the sequence ended before the measurement did');
      if (next.value.type === 'token') left--;
    }
  };
  const stop = async (): Promise<void> => {
    await events?.return(undefined);
    session?.dispose();
    events = session = null;
  };
  return {
    async start(prompts) {
      await stop();
      sequences = prompts.length;
      session = openSession(model);
      events = decode(session, endlessRequest(codec, prompts));
      // Texts whose prompts are read are written while others are read.
      for (let early = 0; ; early++) {
        const next = await events.next();
        if (next.done) throw new Error('the sequence ended before the measurement did');
        if (next.value.type === 'prompt') {
          await take(1 - early / sequences);
          return next.value.seconds;
        }
      }
    },
    async pull(tokens) {
      const started = performance.now();
      await take(tokens);
      return (performance.now() - started) / 1000;
    },
    dispose: stop,
  };
}
