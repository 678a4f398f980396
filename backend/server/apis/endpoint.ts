/** An endpoint that writes: its request to the model, and the function that turns events into its answer, whole or piece by piece. */
import type { TextEvent, WriteRequest } from '../../../protocol/serving.ts';
import type { WrittenText } from './answers.ts';
import type { StreamFormat } from '../http/stream.ts';
import { flagField, recordField, type Body } from './fields.ts';

/** What identifies an answer. */
export interface Head {
  readonly id: string;
  /** Seconds since 1970. */
  readonly created: number;
}

export interface StreamOptions {
  readonly includeUsage: boolean;
}

export interface Endpoint {
  readonly request: WriteRequest;
  /** Null if the answer comes whole. */
  readonly stream: StreamOptions | null;
  /** How its pieces are sent; default: as OpenAI's events. */
  readonly format?: StreamFormat;
  whole(texts: readonly WrittenText[], head: Head): object;
  /** What is sent of an event, which is in its text already. */
  piece(event: TextEvent, text: WrittenText, head: Head): object[];
  /** The last piece, if usage was requested; null: this endpoint has none. */
  usage(texts: readonly WrittenText[], head: Head): object | null;
}

export function streamOptions(body: Body): StreamOptions | null {
  if (!(flagField(body, 'stream') ?? false)) return null;
  const options = recordField(body, 'stream_options');
  return { includeUsage: options !== undefined && (flagField(options, 'include_usage') ?? false) };
}
