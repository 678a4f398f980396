/** Ranges of code points as sequences of ranges of bytes, so that a grammar is matched byte by byte, as tokens consist of bytes. */
import type { Range } from './expression.ts';

const lastCodePoint = 0x10ffff;
/** No text has those. */
const surrogates: Range = [0xd800, 0xdfff];
/** Last code points of one, two and three bytes. */
const lengthEnds = [0x7f, 0x7ff, 0xffff];

/** Every character that is not in the ranges. */
export function complement(ranges: readonly Range[]): Range[] {
  const free: Range[] = [];
  let from = 0;
  for (const [first, last] of [...ranges].sort((a, b) => a[0] - b[0])) {
    if (first > from) free.push([from, first - 1]);
    from = Math.max(from, last + 1);
  }
  if (from <= lastCodePoint) free.push([from, lastCodePoint]);
  return free;
}

/** The bytes of each character of a range: one sequence of byte ranges for each way to spell some. */
export function byteRanges([first, last]: Range): Range[][] {
  if (first > last) return [];
  if (first < surrogates[0] && last >= surrogates[0])
    return [...byteRanges([first, surrogates[0] - 1]), ...byteRanges([surrogates[0], last])];
  if (first >= surrogates[0] && first <= surrogates[1]) return byteRanges([surrogates[1] + 1, last]);
  for (const end of lengthEnds)
    if (first <= end && last > end) return [...byteRanges([first, end]), ...byteRanges([end + 1, last])];
  if (last <= 0x7f) return [[[first, last]]];
  // If the last bytes do not cover all of their values, the range is split.
  for (let bits = 6; bits <= 18; bits += 6) {
    const low = (1 << bits) - 1;
    if (first >> bits === last >> bits) break;
    if ((first & low) !== 0) return [...byteRanges([first, first | low]), ...byteRanges([(first | low) + 1, last])];
    if ((last & low) !== low) return [...byteRanges([first, (last & ~low) - 1]), ...byteRanges([last & ~low, last])];
  }
  const [from, to] = [Buffer.from(String.fromCodePoint(first)), Buffer.from(String.fromCodePoint(last))];
  return [Array.from(from, (byte, i): Range => [byte, to[i]!])];
}
