/** Shorthands over decode() for tests. */
import { decode, type DecodeRequest } from '../../backend/decoding/decode.ts';
import { newPace, type Pace } from '../../backend/decoding/drafts/pace.ts';
import { openSession, type Session } from '../../backend/decoding/session.ts';
import { regretsOf, type JudgedText } from '../../backend/decoding/prompts/reread.ts';
import { greedy } from '../../backend/decoding/sampling/sampler.ts';
import { trunkLength, type StagedModel } from '../../backend/runtime/staged-model.ts';
import type { StopReason, TokenRecord } from '../../protocol/trace.ts';
import { idCodec } from './models.ts';

export const confidenceAt = (threshold: number): DecodeRequest['policy'] => ({
  kind: 'confidence',
  threshold: () => threshold,
});

export const plainRequest = (
  prompts: readonly (readonly number[])[],
  maxTokens: number,
  different: Partial<DecodeRequest> = {},
): DecodeRequest => ({
  prompts,
  maxTokens,
  policy: confidenceAt(1),
  enabled: () => true,
  sampling: greedy,
  seed: 1,
  endOfText: [],
  stopStrings: [],
  gates: new Map(),
  candidates: 0,
  drafts: null,
  codec: idCodec,
  ...different,
});

export interface Decoded {
  /** Per sequence. */
  tokens: TokenRecord[][];
  stops: StopReason[];
}

/** In a session of its own, or in one that is open. */
export async function decodeAll(on: StagedModel | Session, request: DecodeRequest): Promise<Decoded> {
  const tokens: TokenRecord[][] = request.prompts.map(() => []);
  const stops: StopReason[] = [];
  const session = 'pace' in on ? on : openSession(on);
  for await (const event of decode(session, request)) {
    if (event.type === 'token') tokens[event.token.sequence]!.push(event.token);
    if (event.type === 'stop') stops[event.sequence] = event.reason;
  }
  if (session !== on) session.dispose();
  return { tokens, stops };
}

export const idsOf = (tokens: readonly TokenRecord[]): number[] => tokens.map(({ id }) => id);

/** The regrets of texts under the full model, in a session that may have written them. */
export async function judgedIn(session: Session, texts: readonly JudgedText[]): Promise<(readonly number[])[]> {
  const regrets: (readonly number[])[] = [];
  for await (const ofText of regretsOf(session, plainRequest([], 0), texts)) regrets.push(ofText);
  return regrets;
}

/** Takes every draft for right and free, so that tests see many of them, wrong ones too. */
export const eagerPace = (model: StagedModel): Pace => {
  const pace = newPace(model);
  const drafters = { ...pace.drafters, balance: () => 1 };
  return { ...pace, gain: (chance) => chance, acceptance: () => 1, drafters };
};

export const eagerSession = (model: StagedModel): Session => openSession(model, undefined, eagerPace(model));

/** What the final exit says of the last tokens `[last, vocabulary]`, by default of all, in one pass. */
export async function finalLogits(
  model: StagedModel,
  ids: readonly number[],
  last = ids.length,
): Promise<Float32Array> {
  const slots = model.openSlots(1);
  slots.enter(0, ids);
  for (let stage = 0; stage < trunkLength(model); stage++) await slots.run(stage, [ids.length]);
  const [said] = await slots.read(model.exits.length - 1, [0], [last], { logits: true });
  slots.dispose();
  return said!.logits!;
}

/** By how much the model's best logit exceeds that of each token of a text that is not its own choice there. */
export async function partedLogits(
  model: StagedModel,
  prompt: readonly number[],
  text: readonly number[],
): Promise<number[]> {
  const logits = await finalLogits(model, [...prompt, ...text.slice(0, -1)], text.length);
  const vocabulary = logits.length / text.length;
  return text.flatMap((token, i) => {
    const own = logits.subarray(i * vocabulary, (i + 1) * vocabulary);
    const best = Math.max(...own);
    return own[token] === best ? [] : [best - own[token]!];
  });
}
