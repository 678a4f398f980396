/** Archives as the format's own description has them: https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT. */
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { UserError } from '../../../protocol/errors.ts';
import { programPath } from '../../../backend/devices/programs.ts';
import { zip, type ZipEntry } from '../../../backend/formats/zip.ts';

let root: string;
beforeAll(() => (root = fs.mkdtempSync(path.join(os.tmpdir(), 'zip-'))));
afterAll(() => fs.rmSync(root, { recursive: true, force: true }));

const digits: ZipEntry = { name: 'a/digits', content: { bytes: Buffer.from('123456789') } };

describe('an archive', () => {
  it('has files as they are, with the checksums that everybody knows', () => {
    const bytes = Buffer.concat([...zip([digits, { name: 'ü', content: { bytes: Buffer.alloc(0) } }])]);
    const end = bytes.subarray(-22);
    expect(end.readUInt32LE(0)).toBe(0x06054b50);
    expect(end.readUInt16LE(10)).toBe(2);
    const first = bytes.subarray(end.readUInt32LE(16));
    expect(first.readUInt32LE(0)).toBe(0x02014b50);
    // CRC-32 of the nine digits, as every table of checksums gives it.
    expect(first.readUInt32LE(16)).toBe(0xcbf43926);
    expect([first.readUInt32LE(20), first.readUInt32LE(24)]).toEqual([9, 9]);
    const local = bytes.subarray(first.readUInt32LE(42));
    expect(local.readUInt32LE(0)).toBe(0x04034b50);
    const name = local.readUInt16LE(26);
    expect(local.subarray(30, 30 + name + 9).toString()).toBe('a/digits123456789');
  });

  it.skipIf(!programPath('python3'))('is whole to another program', () => {
    const file = path.join(root, 'large');
    // Longer than what is read at a time.
    fs.writeFileSync(file, Buffer.alloc(5_000_000, 'early exit '));
    const archive = path.join(root, 'archive.zip');
    fs.writeFileSync(archive, Buffer.concat([...zip([digits, { name: 'ünder/large', content: { file } }])]));
    const script = `import sys, zipfile
opened = zipfile.ZipFile(sys.argv[1])
assert opened.testzip() is None
print(*(f"{info.filename} {info.file_size}" for info in opened.infolist()), sep="\\n")`;
    const listed = execFileSync('python3', ['-c', script, archive], { encoding: 'utf8' });
    expect(listed.trim().split('\n')).toEqual(['a/digits 9', 'ünder/large 5000000']);
  });

  it('names a file that cannot be read', () => {
    const file = path.join(root, 'nowhere');
    const packing = (): Buffer[] => [...zip([{ name: 'x', content: { file } }])];
    expect(packing).toThrow(UserError);
    expect(packing).toThrow(file);
  });
});
