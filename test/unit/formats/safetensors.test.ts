import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { dequantise } from '../../../backend/formats/dequantise.ts';
import {
  bytesOf,
  openSafetensors,
  readSafetensorsMetadata,
  writeSafetensors,
} from '../../../backend/formats/safetensors.ts';
import { caught, file, safetensors, temporaryFolder } from './fixtures.ts';

const float32 = (...values: number[]): Uint8Array => bytesOf(Float32Array.from(values));
const entry = (shape: number[], begin: number, end: number, dtype = 'F32') => ({
  dtype,
  shape,
  data_offsets: [begin, end],
});

function values(path: string, name: string): number[] {
  const source = openSafetensors(path);
  const tensor = source.tensors.get(name)!;
  const count = tensor.shape.reduce((a, b) => a * b, 1);
  const result = [...dequantise(tensor.type, source.read(tensor), count)];
  source.close();
  return result;
}

/** The error that opening must give: the user's, naming the file. */
function refusal(path: string, named = path): string {
  const { message } = caught(() => openSafetensors(path).close());
  expect(message).toContain(named);
  return message;
}

describe('openSafetensors', () => {
  it('reads tensors and ranges of them', () => {
    const path = file(
      temporaryFolder(),
      'a.safetensors',
      safetensors(
        { b: entry([2], 8, 12, 'F16'), a: entry([2, 1], 0, 8) },
        Buffer.concat([float32(1.5, -2), Buffer.from([0, 0x3c, 0, 0xc0])]),
      ),
    );
    expect(values(path, 'a')).toEqual([1.5, -2]);
    expect(values(path, 'b')).toEqual([1, -2]);
    const source = openSafetensors(path);
    const a = source.tensors.get('a')!;
    expect(a.shape).toEqual([2, 1]);
    expect([...dequantise('F32', source.read(a, 4), 1)]).toEqual([-2]);
    expect(source.read(a, 1, 2)).toEqual(float32(1.5).subarray(1, 3));
    expect(() => source.read(a, 4, 5)).toThrow(RangeError);
    expect(source.files).toEqual([path]);
    source.close();
  });

  it('takes a directory, single or sharded', () => {
    const folder = temporaryFolder();
    file(folder, 'one.safetensors', safetensors({ a: entry([1], 0, 4) }, float32(3)));
    file(folder, 'two.safetensors', safetensors({ b: entry([1], 0, 4), rest: entry([1], 4, 8) }, float32(4, 5)));
    const index = { weight_map: { a: 'one.safetensors', b: 'two.safetensors' } };
    const indexPath = file(folder, 'model.safetensors.index.json', JSON.stringify(index));
    expect(values(folder, 'b')).toEqual([4]);
    expect(values(indexPath, 'a')).toEqual([3]);
    const source = openSafetensors(folder);
    expect([...source.tensors.keys()]).toEqual(['a', 'b']);
    expect(source.files).toHaveLength(2);
    source.close();
    file(folder, 'model.safetensors', safetensors({ a: entry([1], 0, 4) }, float32(9)));
    expect(values(folder, 'a')).toEqual([9]);
  });

  it('reads tensors named like properties of objects', () => {
    const path = file(
      temporaryFolder(),
      'a.safetensors',
      safetensors('{"__proto__":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', float32(6)),
    );
    expect(values(path, '__proto__')).toEqual([6]);
  });

  it('does not mistake a header of 640 bytes for a pickle', () => {
    const header = JSON.stringify({ a: entry([1], 0, 4) }).padEnd(640, ' ');
    expect(values(file(temporaryFolder(), 'a.safetensors', safetensors(header, float32(7))), 'a')).toEqual([7]);
  });

  it.each<[string, Uint8Array | string, RegExp]>([
    ['an empty file', '', /is empty, not safetensors/],
    ['a short file', 'abc', /it has 3 bytes/],
    ['a zip', 'PK\x03\x04rest of it', /a zip archive/],
    ['a web page', '\n<!DOCTYPE html><html><body>404</body></html>', /a web page/],
    ['a git-lfs pointer', 'version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n', /git-lfs pointer/],
    ['a pickle', Buffer.from([0x80, 0x02, 0x7d, 0x71, 0, 0, 0, 0, 0x71]), /pickle/],
    ['a GGUF file', 'GGUF\x03\0\0\0\0\0\0\0', /a GGUF file/],
    ['a header longer than the file', safetensors({}, undefined, 2n ** 40n), /longer than the file/],
    ['a header length of 2^64 − 1', safetensors({}, undefined, 2n ** 64n - 1n), /longer than the file/],
    ['no JSON', safetensors('{"a": '), /not JSON/],
    ['an array', safetensors('[1]'), /not a JSON object/],
    ['metadata that is no map of strings', safetensors({ __metadata__: { a: 1 } }), /map of strings/],
    ['a tensor that is a number', safetensors({ a: 1 }), /not an object/],
    [
      'an unknown type',
      safetensors({ a: entry([1], 0, 1, 'F8_E4M3') }, new Uint8Array(1)),
      /F8_E4M3, which is not supported/,
    ],
    ['a negative shape', safetensors({ a: entry([-1], 0, 4) }, new Uint8Array(4)), /no valid shape/],
    ['a fractional shape', safetensors({ a: entry([0.5], 0, 2) }, new Uint8Array(2)), /no valid shape/],
    ['a huge shape', safetensors({ a: entry([2 ** 40, 2 ** 40], 0, 4) }, new Uint8Array(4)), /impossible shape/],
    [
      'too many axes',
      safetensors({ a: entry([1, 1, 1, 1, 1, 1, 1, 1, 1], 0, 4) }, new Uint8Array(4)),
      /no valid shape/,
    ],
    [
      'offsets that are no pair',
      safetensors({ a: { dtype: 'F32', shape: [1], data_offsets: [0] } }, new Uint8Array(4)),
      /no valid offsets/,
    ],
    ['offsets beyond the file', safetensors({ a: entry([2], 0, 8) }, new Uint8Array(4)), /truncated/],
    ['offsets in reverse', safetensors({ a: entry([1], 4, 0) }, new Uint8Array(4)), /lies at bytes 4 to 0/],
    [
      'a shape that needs other bytes',
      safetensors({ a: entry([2], 0, 4) }, new Uint8Array(4)),
      /needs 8 bytes .* has 4/,
    ],
    ['overlaps', safetensors({ a: entry([2], 0, 8), b: entry([1], 4, 8) }, new Uint8Array(8)), /overlaps/],
    ['a hole', safetensors({ a: entry([1], 4, 8) }, new Uint8Array(8)), /a hole before tensor a/],
    ['a tail', safetensors({ a: entry([1], 0, 4) }, new Uint8Array(9)), /5 bytes follow/],
  ])('refuses %s', (_, bytes, message) => {
    expect(refusal(file(temporaryFolder(), 'model.safetensors', bytes))).toMatch(message);
  });

  it('refuses shards outside the folder, missing shards and missing tensors', () => {
    const folder = temporaryFolder();
    file(folder, 'one.safetensors', safetensors({ a: entry([1], 0, 4) }, float32(3)));
    const index = (map: unknown): string =>
      file(folder, 'model.safetensors.index.json', JSON.stringify({ weight_map: map }));
    expect(refusal(index({ a: '../one.safetensors' }))).toMatch(/outside its folder/);
    expect(refusal(index({ a: '..\\one.safetensors' }))).toMatch(/outside its folder/);
    expect(refusal(index({ a: 'two.safetensors' }), 'two.safetensors')).toMatch(/does not exist/);
    expect(refusal(index({ b: 'one.safetensors' }))).toMatch(/tensor b is missing from/);
    expect(refusal(index({}))).toMatch(/weight_map is empty/);
    expect(refusal(index([]))).toMatch(/map of strings/);
  });

  it('says what a folder without safetensors holds instead', () => {
    const folder = temporaryFolder();
    file(folder, 'pytorch_model.bin', '');
    expect(caught(() => openSafetensors(folder))).toMatchObject({
      code: 'not-found',
      wayOut: 'Convert pytorch_model.bin to safetensors first.',
    });
    file(folder, 'm.gguf', '');
    expect(caught(() => openSafetensors(folder)).wayOut).toBe(`Name the file itself: ${join(folder, 'm.gguf')}.`);
    expect(caught(() => openSafetensors(join(folder, 'none'))).code).toBe('not-found');
  });

  it('notices that a file shrank after it was opened', async () => {
    const { truncateSync } = await import('node:fs');
    const path = file(temporaryFolder(), 'a.safetensors', safetensors({ a: entry([4], 0, 16) }, float32(1, 2, 3, 4)));
    const source = openSafetensors(path);
    truncateSync(path, 70);
    expect(() => source.read(source.tensors.get('a')!)).toThrow(/truncated/);
    source.close();
  });
});

describe('writeSafetensors', () => {
  it('writes what it reads, from whole arrays and from pieces', () => {
    const path = join(temporaryFolder(), 'deep', 'a.safetensors');
    writeSafetensors(
      path,
      [
        { name: 'x', type: 'F32', shape: [3], bytes: float32(1, 2, 3) },
        { name: 'y', type: 'I64', shape: [1, 2], bytes: [new Uint8Array(7), new Uint8Array(9).fill(1)] },
        { name: 'empty', type: 'F32', shape: [0, 4], bytes: [] },
      ],
      { format: 'pt', note: 'é' },
    );
    expect(values(path, 'x')).toEqual([1, 2, 3]);
    expect(values(path, 'empty')).toEqual([]);
    const source = openSafetensors(path);
    expect([...source.read(source.tensors.get('y')!)]).toEqual([
      ...new Array<number>(7).fill(0),
      ...new Array<number>(9).fill(1),
    ]);
    expect(source.tensors.get('x')!.offset % 8).toBe(0);
    source.close();
    expect([...readSafetensorsMetadata(path)]).toEqual([
      ['format', 'pt'],
      ['note', 'é'],
    ]);
    expect(readdirSync(join(path, '..'))).toEqual(['a.safetensors']);
  });

  it('keeps the old file and leaves nothing behind when the data stops early', () => {
    const folder = temporaryFolder();
    const path = file(folder, 'a.safetensors', 'old');
    const tensor = { name: 'x', type: 'F32' as const, shape: [3], bytes: float32(1, 2) };
    expect(() => writeSafetensors(path, [tensor])).toThrow(/8 bytes given, its shape needs 12/);
    expect(readFileSync(path, 'utf8')).toBe('old');
    expect(readdirSync(folder)).toEqual(['a.safetensors']);
  });

  it('names the file when it cannot write', () => {
    const folder = temporaryFolder();
    const path = join(folder, 'file', 'a.safetensors');
    file(folder, 'file', '');
    expect(caught(() => writeSafetensors(path, [])).message).toContain(`Cannot write ${path}: `);
    mkdirSync(join(folder, 'closed'));
    chmodSync(join(folder, 'closed'), 0o555);
    // Root writes anywhere.
    if (process.getuid?.() !== 0)
      expect(() => writeSafetensors(join(folder, 'closed', 'a'), [])).toThrow(/permission is denied/);
  });

  it('says of a link that leads to itself that it does', () => {
    const path = join(temporaryFolder(), 'circle');
    symlinkSync(path, path);
    expect(caught(() => writeSafetensors(join(path, 'a.safetensors'), [])).message).toContain('leads in a circle');
  });

  it.runIf(existsSync('/dev/full'))('says that the disk is full', async () => {
    const { writeWhole, fileError } = await import('../../../backend/system/files.ts');
    const { openSync, closeSync } = await import('node:fs');
    const descriptor = openSync('/dev/full', 'w');
    try {
      expect(() => writeWhole(descriptor, new Uint8Array(10))).toThrow(/ENOSPC/);
      let message = '';
      try {
        writeWhole(descriptor, new Uint8Array(10));
      } catch (error) {
        message = fileError(error, 'write', 'out.safetensors').message;
      }
      expect(message).toBe('Cannot write out.safetensors: the disk is full.');
    } finally {
      closeSync(descriptor);
    }
  });
});
