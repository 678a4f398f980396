/** Reads the body of a request, no more of it than is allowed. */
import type { IncomingMessage } from 'node:http';
import { userError } from '../../protocol/errors.ts';
import { refusal } from './failures.ts';

/**
 * An empty one is an empty object.
 * @throws Refusal for a body that is too large or no JSON; UserError where its client breaks it off.
 */
export async function readJson(request: IncomingMessage, limit: number): Promise<unknown> {
  const tooLarge = () => refusal(413, 'body_too_large', `The body has more than ${limit} bytes: see --body-megabytes.`);
  if (Number(request.headers['content-length'] ?? 0) > limit) throw tooLarge();
  const chunks: Buffer[] = [];
  let length = 0;
  try {
    for await (const chunk of request as AsyncIterable<Buffer>) {
      length += chunk.length;
      if (length > limit) break;
      chunks.push(chunk);
    }
  } catch (error) {
    throw userError('cancelled', 'The client left before all of its request had come.', undefined, error);
  }
  if (length > limit) throw tooLarge();
  if (length === 0) return {};
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(chunks)));
  } catch {
    throw refusal(400, 'invalid_json', 'The body is no JSON in UTF-8.');
  }
}
