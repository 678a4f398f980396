/** Reads the body of a request, no more of it than is allowed, and nothing that is nested too deep to be handed on. */
import type { IncomingMessage } from 'node:http';
import { userError } from '../../../protocol/errors.ts';
import { refusal } from './failures.ts';
import { mostLevels, newNestingMeter } from './nesting.ts';

export interface ReadBody {
  readonly value: unknown;
  /** As it came. */
  readonly bytes: number;
}

/**
 * An empty body is an empty object.
 * @throws Refusal for a body that is too large, nested too deep or no JSON; UserError if its client breaks off.
 */
export async function readJson(request: IncomingMessage, limit: number): Promise<ReadBody> {
  const tooLarge = () => refusal(413, 'body_too_large', `The body has more than ${limit} bytes: see --body-megabytes.`);
  if (Number(request.headers['content-length'] ?? 0) > limit) throw tooLarge();
  const chunks: Buffer[] = [];
  const nestingWith = newNestingMeter();
  let bytes = 0;
  let levels = 0;
  try {
    for await (const chunk of request as AsyncIterable<Buffer>) {
      bytes += chunk.length;
      levels = nestingWith(chunk);
      if (bytes > limit || levels > mostLevels) break;
      chunks.push(chunk);
    }
  } catch (error) {
    throw userError('cancelled', 'The client left before all of its request had come.', undefined, error);
  }
  if (bytes > limit) throw tooLarge();
  if (levels > mostLevels)
    throw refusal(400, 'invalid_json', `The body is nested deeper than ${mostLevels} lists and objects.`);
  if (bytes === 0) return { value: {}, bytes };
  try {
    return { value: JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(chunks))), bytes };
  } catch {
    throw refusal(400, 'invalid_json', 'The body is no JSON in UTF-8.');
  }
}
