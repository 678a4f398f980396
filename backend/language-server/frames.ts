/**
 * The frames of the protocol's stream (`Content-Length: n`, an empty line, n bytes), checked before the library reads them: it waits for
 * ever for the rest of a frame of −1, NaN or 10^15 bytes. Bytes go through as they are. Knows no message.
 */
import { Transform } from 'node:stream';
import { shownValue } from '../../protocol/foreign.ts';

/** Far more than any document that an editor opens. */
const longestBody = 2 ** 28;
/** Two short lines are usual. */
const longestHead = 4096;

/** Passes whole frames through; errors with a sentence at the first that is none. */
export function checkedFrames(): Transform {
  let head = Buffer.alloc(0);
  /** Bytes of the body that are still to come. */
  let left = 0;
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      try {
        for (let rest = chunk; rest.length > 0;) {
          if (left > 0) {
            const body = rest.subarray(0, left);
            left -= body.length;
            rest = rest.subarray(body.length);
            this.push(body);
            continue;
          }
          const before = head.length;
          head = Buffer.concat([head, rest.subarray(0, longestHead)]);
          const end = head.indexOf('\r\n\r\n');
          if (end < 0 && head.length >= longestHead) throw new Error(`a head of ${head.length} bytes and more`);
          if (end < 0) break;
          left = bodyLength(head.toString('latin1', 0, end));
          this.push(head.subarray(0, end + 4));
          rest = rest.subarray(end + 4 - before);
          head = Buffer.alloc(0);
        }
        done();
      } catch (error) {
        done(error as Error);
      }
    },
  });
}

function bodyLength(head: string): number {
  const lengths = head.split('\r\n').flatMap((line) => /^content-length:(.*)$/i.exec(line)?.[1]?.trim() ?? []);
  const [text] = lengths;
  if (text === undefined || lengths.length > 1) throw new Error('a head without one Content-Length');
  const length = /^\d+$/.test(text) ? Number(text) : NaN;
  if (!(length >= 2 && length <= longestBody)) throw new Error(`a Content-Length of ${shownValue(text)}`);
  return length;
}
