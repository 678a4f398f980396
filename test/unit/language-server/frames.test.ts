import { describe, expect, it } from 'vitest';
import { checkedFrames } from '../../../backend/language-server/frames.ts';
import { random } from '../../support/random.ts';

const frame = (body: string): string => `Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`;

async function pass(pieces: readonly Uint8Array[]): Promise<string> {
  const frames = checkedFrames();
  const out: Buffer[] = [];
  frames.on('data', (bytes: Buffer) => out.push(bytes));
  const ended = new Promise<void>((resolve, reject) => frames.once('end', resolve).once('error', reject));
  for (const piece of pieces) frames.write(piece);
  frames.end();
  await ended;
  return Buffer.concat(out).toString();
}

describe('checkedFrames', () => {
  const whole = [
    frame('{"é":1}'),
    frame('{}'),
    `content-type: x\r\n${frame(`{"a":"${'x'.repeat(9000)}"}`)}`,
    frame('[]'),
  ];

  it('passes frames through as they are, however they are cut', async () => {
    const bytes = Buffer.from(whole.join(''));
    const next = random(5);
    for (let round = 0; round < 200; round++) {
      const pieces: Buffer[] = [];
      for (let at = 0; at < bytes.length;) {
        const size = 1 + Math.floor(next() * (round % 2 ? 10 : 5000));
        pieces.push(bytes.subarray(at, at + size));
        at += size;
      }
      expect(await pass(pieces)).toBe(whole.join(''));
    }
  });

  it.each(['-1', 'NaN', '1e3', '0', '1', '2.5', '0x10', '', '99999999999999999999', '268435457'])(
    'refuses a length of %j, also behind a sound frame',
    async (length) => {
      const bytes = Buffer.from(`${whole[0]}Content-Length: ${length}\r\n\r\n{}`);
      await expect(pass([bytes])).rejects.toThrow(/Content-Length/);
    },
  );
});
