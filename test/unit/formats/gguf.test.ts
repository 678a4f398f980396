import { execFileSync } from 'node:child_process';
import { readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { openGguf, readGgufBeginning } from '../../../backend/formats/gguf.ts';
import { caught, file, gguf, temporaryFolder, text, u32, u64, type GgufParts } from './fixtures.ts';

const tensor = (name: string, dimensions: (number | bigint)[], offset: number | bigint, type = 0) => ({
  name,
  dimensions,
  type,
  offset,
});

function refusal(bytes: Uint8Array | string): string {
  const path = file(temporaryFolder(), 'model.gguf', bytes);
  const { message } = caught(() => openGguf(path).close());
  expect(message).toContain(path);
  return message;
}

describe('openGguf', () => {
  it('reads metadata of every type and tensors in row-major order', () => {
    const numbers: [string, number, Buffer][] = [
      ['u8', 0, Buffer.from([200])],
      ['i8', 1, Buffer.from([200])],
      ['u16', 2, Buffer.from([0, 255])],
      ['i16', 3, Buffer.from([0, 255])],
      ['u32', 4, u32(4e9)],
      ['i32', 5, u32(2 ** 32 - 2)],
      ['f32', 6, Buffer.from(new Float32Array([0.5]).buffer)],
      ['bool', 7, Buffer.from([1])],
      ['string', 8, text('Grüße')],
      ['strings', 9, Buffer.concat([u32(8), u64(2), text('a'), text('')])],
      ['floats', 9, Buffer.concat([u32(6), u64(2), Buffer.from(new Float32Array([1, -2]).buffer)])],
      ['flags', 9, Buffer.concat([u32(7), u64(2), Buffer.from([0, 1])])],
      ['u64', 10, u64(2n ** 40n)],
      ['i64', 11, u64(2n ** 64n - 3n)],
      ['f64', 12, Buffer.from(new Float64Array([0.1]).buffer)],
    ];
    const data = new Uint8Array(new Float32Array([1, 2, 3, 4, 5, 6]).buffer);
    const path = file(temporaryFolder(), 'a.gguf', gguf({ entries: numbers, tensors: [tensor('w', [3, 2], 0)], data }));
    const opened = openGguf(path);
    const { metadata } = opened;
    expect(Object.fromEntries([...metadata.keys()].map((key) => [key, metadata.get(key)]))).toEqual({
      u8: 200,
      i8: -56,
      u16: 65280,
      i16: -256,
      u32: 4e9,
      i32: -2,
      f32: 0.5,
      bool: true,
      string: 'Grüße',
      strings: ['a', ''],
      floats: new Float32Array([1, -2]),
      flags: new Uint8Array([0, 1]),
      u64: 2 ** 40,
      i64: -3,
      f64: 0.1,
    });
    const w = opened.tensors.get('w')!;
    expect(w.shape).toEqual([2, 3]);
    expect([...new Float32Array(opened.read(w, 12).buffer)]).toEqual([4, 5, 6]);
    opened.close();
  });

  it('leaves 100 MB of booleans on disk until they are asked for, and takes a byte for each then', () => {
    const count = 100_000_000;
    const path = file(temporaryFolder(), 'a.gguf', gguf({ entries: [['flags', 9, Buffer.concat([u32(7), u64(0)])]] }));
    // The count is the last of the header; the booleans are a hole of the file.
    const header = readFileSync(path).subarray(0, 24 + 8 + 5 + 4 + 4);
    writeFileSync(path, Buffer.concat([header, u64(count)]));
    truncateSync(path, header.length + 8 + count);
    const before = process.memoryUsage();
    const opened = openGguf(path);
    const after = process.memoryUsage();
    expect(after.arrayBuffers - before.arrayBuffers).toBeLessThan(2 ** 20);
    expect(after.heapUsed - before.heapUsed).toBeLessThan(2 ** 22);
    const flags = opened.metadata.get('flags');
    expect(flags).toBeInstanceOf(Uint8Array);
    expect(flags).toHaveLength(count);
    opened.close();
  });

  it('reads a header longer than its window, and honours the alignment', () => {
    const long = 'x'.repeat(700_000);
    const entries: GgufParts['entries'] = [
      ['long', 8, text(long)],
      ['general.alignment', 4, u32(64)],
    ];
    const header = gguf({ entries, tensors: [tensor('w', [1], 0)] });
    const padding = Buffer.alloc((64 - (header.length % 64)) % 64);
    const bytes = Buffer.concat([header, padding, new Uint8Array(new Float32Array([42]).buffer)]);
    const opened = openGguf(file(temporaryFolder(), 'a.gguf', bytes));
    expect(opened.metadata.get('long')).toBe(long);
    expect([...new Float32Array(opened.read(opened.tensors.get('w')!).buffer)]).toEqual([42]);
    opened.close();
  });

  const key = 'general.alignment';
  it.each<[string, Uint8Array | string, RegExp]>([
    ['an empty file', '', /is empty, not a GGUF file/],
    ['a zip', 'PK\x03\x04 and more', /a zip archive/],
    ['a web page', '<html>no</html>', /a web page/],
    ['a git-lfs pointer', 'version https://git-lfs.github.com/spec/v1\noid', /git-lfs pointer/],
    ['something else', 'hello, world', /something else/],
    ['a bare magic', 'GGUF', /header is longer than the file/],
    ['version 1', gguf({ version: 1 }), /GGUF version 1/],
    ['big-endian files', gguf({ version: 0x03000000 }), /big-endian/],
    ['a lying count of tensors', gguf({ tensorCount: 2n ** 63n }), /claims .* tensors/],
    ['a lying count of entries', gguf({ entryCount: 1e5 }), /claims 100000 metadata entries/],
    ['a lying string', gguf({ entries: [['k', 8, u64(2n ** 40n)]] }), /claims .* bytes of text/],
    ['a lying array', gguf({ entries: [['k', 9, Buffer.concat([u32(4), u64(2n ** 33n)])]] }), /elements in k/],
    ['a lying array of strings', gguf({ entries: [['k', 9, Buffer.concat([u32(8), u64(9e9)])]] }), /strings in k/],
    ['an unknown value type', gguf({ entries: [['k', 13, u64(0)]] }), /unknown value type 13/],
    ['arrays of arrays', gguf({ entries: [['k', 9, Buffer.concat([u32(9), u64(1), u64(0)])]] }), /value type 9/],
    [
      'a key twice',
      gguf({
        entries: [
          ['k', 0, Buffer.from([1])],
          ['k', 0, Buffer.from([1])],
        ],
      }),
      /k occurs twice/,
    ],
    ['a strange alignment', gguf({ entries: [[key, 4, u32(48)]] }), /power of two/],
    ['an alignment of zero', gguf({ entries: [[key, 4, u32(0)]] }), /power of two/],
    ['an alignment that is text', gguf({ entries: [[key, 8, text('32')]] }), /power of two/],
    [
      'a part that is not named so',
      gguf({ entries: [['split.count', 2, Buffer.from([3, 0])]] }),
      /one of 3 parts .* not named …-00001-of-00003/,
    ],
    [
      'an absurd count of parts',
      gguf({ entries: [['split.count', 4, u32(1e6)]] }),
      /"split.count" is no number of parts/,
    ],
    ['a count of parts that is text', gguf({ entries: [['split.count', 8, text('2')]] }), /"split.count" is no number/],
    ['too many axes', gguf({ tensors: [tensor('w', [1, 1, 1, 1, 1], 0)], data: new Uint8Array(4) }), /5 axes/],
    ['impossible shapes', gguf({ tensors: [tensor('w', [2n ** 62n, 8], 0)] }), /impossible shape/],
    ['unsupported types', gguf({ tensors: [tensor('w', [32], 0, 40)] }), /GGML type NVFP4, which is not supported/],
    ['unknown types', gguf({ tensors: [tensor('w', [32], 0, 99)] }), /GGML type 99/],
    [
      'rows that are no whole blocks',
      gguf({ tensors: [tensor('w', [16, 2], 0, 2)], data: new Uint8Array(99) }),
      /multiple of a Q4_0 block/,
    ],
    ['unaligned tensors', gguf({ tensors: [tensor('w', [1], 4)], data: new Uint8Array(64) }), /not aligned/],
    ['tensors beyond the end', gguf({ tensors: [tensor('w', [9], 0)], data: new Uint8Array(32) }), /truncated/],
    [
      'offsets of 2^64 − 32',
      gguf({ tensors: [tensor('w', [1], 2n ** 64n - 32n)], data: new Uint8Array(32) }),
      /truncated/,
    ],
    [
      'overlaps',
      gguf({ tensors: [tensor('a', [9], 0), tensor('b', [1], 32)], data: new Uint8Array(64) }),
      /b overlaps/,
    ],
    [
      'equal names',
      gguf({ tensors: [tensor('a', [1], 0), tensor('a', [1], 32)], data: new Uint8Array(64) }),
      /same name/,
    ],
  ])('refuses %s', (_, bytes, message) => {
    expect(refusal(bytes)).toMatch(message);
  });

  it.skipIf(process.platform === 'win32')('does not wait for a named pipe', () => {
    const pipe = `${temporaryFolder()}/model.gguf`;
    execFileSync('mkfifo', [pipe]);
    expect(caught(() => openGguf(pipe)).message).toBe(`${pipe} is not a regular file.`);
  });

  it('refuses folders and missing files', () => {
    const folder = temporaryFolder();
    expect(() => openGguf(folder)).toThrow(/is not a regular file/);
    expect(() => openGguf(`${folder}/none.gguf`)).toThrow(/does not exist/);
  });
});

describe('a model in parts', () => {
  const u16 = (value: number): Buffer => Buffer.from([value, 0]);
  const numbers = (...values: number[]): Uint8Array => new Uint8Array(new Float32Array(values).buffer);
  const part = (no: number, name: string, value: number, { count = 3, tensors = 3 } = {}): Buffer =>
    gguf({
      entries: [
        ['split.no', 2, u16(no)],
        ['split.count', 2, u16(count)],
        ['split.tensors.count', 5, u32(tensors)],
        ...(no === 0 ? [['general.architecture', 8, text('llama')] as [string, number, Buffer]] : []),
      ],
      tensors: [tensor(name, [2], 0)],
      data: numbers(value, value),
    });
  const nameOf = (no: number): string => `model-0000${no + 1}-of-00003.gguf`;
  const write = (...parts: Buffer[]): string[] => {
    const folder = temporaryFolder();
    return parts.map((bytes, i) => file(folder, nameOf(i), bytes));
  };
  const whole = [part(0, 'a', 1), part(1, 'b', 2), part(2, 'c', 3)];

  it.each([0, 1, 2])('is opened whole by part %s', (given) => {
    const paths = write(...whole);
    const opened = openGguf(paths[given]!);
    expect(opened.files).toEqual(paths);
    expect(opened.metadata.get('general.architecture')).toBe('llama');
    const values = [...opened.tensors].map(([name, each]) => [name, new Float32Array(opened.read(each).buffer)[0]]);
    expect(values).toEqual([
      ['a', 1],
      ['b', 2],
      ['c', 3],
    ]);
    opened.close();
  });

  it.each<[string, Buffer[], RegExp]>([
    ['a missing part', whole.slice(0, 2), /model-00003-of-00003\.gguf is missing: .*"split.count"/],
    ['another count', [whole[0]!, part(1, 'b', 2, { count: 2 }), whole[2]!], /00002-of.*its "split.count" is not 3/],
    ['another order', [whole[0]!, whole[2]!, whole[1]!], /00002-of.*its "split.no" is not 1/],
    [
      'a part of another model',
      [whole[0]!, whole[1]!, part(2, 'c', 3, { tensors: 9 })],
      /00003-of.*"split.tensors.count"/,
    ],
    ['a tensor that is there twice', [whole[0]!, whole[1]!, part(2, 'a', 3)], /00003-of.*tensor a is in an earlier/],
    [
      'tensors that are nowhere',
      [0, 1, 2].map((no) => part(no, 'abc'[no]!, no, { tensors: 4 })),
      /all have 3 tensors, "split.tensors.count" is 4/,
    ],
  ])('refuses %s', (_, parts, message) => {
    expect(caught(() => openGguf(write(...parts)[0]!).close()).message).toMatch(message);
  });
});

describe('readGgufBeginning', () => {
  const whole = gguf({
    entries: [
      ['general.architecture', 8, text('llama')],
      ['llama.block_count', 4, u32(2)],
      ['long', 8, text('a'.repeat(1000))],
    ],
    tensors: [tensor('w', [2], 0)],
    data: new Uint8Array(8),
  });
  const keysOf = (bytes: Uint8Array): string[] | null =>
    readGgufBeginning(file(temporaryFolder(), 'part', bytes), (metadata) => {
      expect(metadata.get('general.architecture') ?? 'llama').toBe('llama');
      return [...metadata.keys()];
    });

  it('reads the entries that are there whole', () => {
    expect(keysOf(whole)).toEqual(['general.architecture', 'llama.block_count', 'long']);
    expect(keysOf(whole.subarray(0, 500))).toEqual(['general.architecture', 'llama.block_count']);
    expect(keysOf(whole.subarray(0, 70))).toEqual(['general.architecture']);
  });

  it('is null for what does not begin like a GGUF file', () => {
    expect(keysOf(Buffer.from('<html>not a model</html>'))).toBeNull();
  });
});
