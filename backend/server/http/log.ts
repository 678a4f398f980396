/** A record of each request, as JSON or as a line for a person. It contains prompts and answers only if that is wanted. */
import type { RequestRecord, WriteRequest } from '../../../protocol/serving.ts';
import { plural } from '../../../protocol/plural.ts';
import { speedOf, type Tally } from './tally.ts';

export interface Answered {
  readonly client: string;
  readonly method: string;
  readonly path: string;
  readonly status: number;
  readonly tally: Tally;
  /** Null if the request asks for no text. */
  readonly request: WriteRequest | null;
}

/** `withPrompts`: it contains the prompt. */
export function recordOf({ tally, request, ...who }: Answered, withPrompts: boolean): RequestRecord {
  const round = (value: number): number => Math.round(10 * value) / 10;
  const speed = speedOf(tally);
  const written =
    request === null
      ? null
      : {
          texts: request.prompts.length * request.count,
          promptTokens: tally.promptTokens,
          rememberedTokens: tally.rememberedTokens,
          writtenTokens: tally.writtenTokens,
          firstMilliseconds: tally.first === null ? null : round(tally.first - tally.requestedAt),
          tokensPerSecond: speed === null ? null : round(speed),
          meanLayer: tally.writtenTokens === 0 ? null : round(tally.layers / tally.writtenTokens),
          exits: Object.fromEntries(tally.exits),
          drafts: tally.drafts,
          rightDrafts: tally.rightDrafts,
          reasons: [...tally.reasons],
        };
  return {
    type: 'request',
    time: new Date().toISOString(),
    ...who,
    milliseconds: round(performance.now() - tally.requestedAt),
    written,
    ...(withPrompts && request !== null && { prompts: request.prompts }),
  };
}

export function lineOf({ time, client, method, path, status, milliseconds, written, prompts }: RequestRecord): string {
  const seconds = (value: number): string =>
    value < 1000 ? `${Math.round(value)} ms` : `${(value / 1000).toFixed(1)} s`;
  const parts = [`${time.slice(11, 19)} ${method} ${path} ${status}`, client, seconds(milliseconds)];
  if (written !== null) {
    const { promptTokens, rememberedTokens, writtenTokens, firstMilliseconds, tokensPerSecond, meanLayer } = written;
    const remembered = rememberedTokens > 0 ? ` (${rememberedTokens} remembered)` : '';
    parts.push(`${promptTokens}${remembered} + ${plural(writtenTokens, 'token')}`);
    if (firstMilliseconds !== null) parts.push(`first after ${seconds(firstMilliseconds)}`);
    if (tokensPerSecond !== null) parts.push(`${tokensPerSecond} tokens/s`);
    if (meanLayer !== null) parts.push(`layer ${meanLayer}`);
  }
  if (prompts !== undefined) parts.push(JSON.stringify(prompts));
  return parts.join(' · ');
}
