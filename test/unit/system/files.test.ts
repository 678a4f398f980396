/** A pipe in the place of a file blocks no caller: only regular files are opened. A file is written whole, by each writer for itself. */
import { execFileSync, spawnSync } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { readInfo } from '../../../backend/checkpoint/checkpoint.ts';
import { hashWeights } from '../../../backend/checkpoint/hash.ts';
import { readDocuments } from '../../../backend/data/texts/documents.ts';
import { localModel } from '../../../backend/hub/hub.ts';
import { loadTokenizer } from '../../../backend/data/tokenizer/tokenizer.ts';
import { hasAllShards } from '../../../backend/hub/complete-downloads.ts';
import {
  openCut,
  openRangeFile,
  openRegular,
  openRegularBeside,
  readText,
  readTextBeside,
  writeFileAtomically,
  writeWhole,
} from '../../../backend/system/files.ts';
import { openSafetensors } from '../../../backend/formats/safetensors.ts';
import { isWritten } from '../../../backend/formats/our-folders.ts';
import { exitsOfBase, findExits } from '../../../backend/recipes/at-hand/catalogue.ts';
import { openModel } from '../../../backend/model/open.ts';
import { temporaryFolder } from '../formats/fixtures.ts';

const pipe = (...parts: string[]): string => {
  const file = join(...parts);
  mkdirSync(dirname(file), { recursive: true });
  execFileSync('mkfifo', [file]);
  return file;
};
const refusal = (file: string): string => `${file} is not a regular file.`;

describe.skipIf(process.platform === 'win32')('a pipe', () => {
  const openers: Record<string, (file: string) => unknown> = {
    openRegular,
    openRegularBeside,
    openRangeFile,
    readText,
    openSafetensors: (file) => openSafetensors(dirname(file)),
    loadTokenizer: (file) => loadTokenizer(dirname(file)),
    openModel: (file) => openModel(dirname(file)),
    readInfo: (file) => readInfo(dirname(file)),
    hashWeights: (file) => hashWeights([file], { cache: null }),
  };
  it.each([
    ['openRegular', 'x'],
    ['openRegularBeside', 'x'],
    ['openRangeFile', 'x'],
    ['readText', 'x'],
    ['openSafetensors', 'model.safetensors.index.json'],
    ['openSafetensors', 'model.safetensors'],
    ['loadTokenizer', 'tokenizer.json'],
    ['openModel', 'config.json'],
    ['readInfo', 'exits.json'],
    ['hashWeights', 'x'],
  ] as const)('is refused by %s as %s, a link to one too', async (opener, name) => {
    const opened = async (file: string): Promise<unknown> => openers[opener]!(file);
    const file = pipe(temporaryFolder(), name);
    await expect(opened(file)).rejects.toThrow(refusal(file));
    const link = join(temporaryFolder(), name);
    symlinkSync(file, link);
    await expect(opened(link)).rejects.toThrow(refusal(link));
  });

  it('is no text, no shard list, no card, no note of another cache, and no document', async () => {
    const folder = temporaryFolder();
    expect(await readTextBeside(pipe(folder, 'x'))).toBeNull();
    pipe(folder, 'model.safetensors.index.json');
    expect(hasAllShards(folder)).toBe(false);
    pipe(folder, 'README.md');
    expect(isWritten(folder)).toBe(false);
    pipe(folder, 'models--owner--name', 'refs', 'main');
    expect(localModel('owner/name', { cacheDirectory: folder, environment: { HF_HUB_CACHE: folder } })).toBeNull();
    writeFileSync(join(folder, 'a.txt'), 'text');
    pipe(folder, 'b.txt');
    expect([...readDocuments(['*.txt'], { directory: folder })].map(({ name }) => name)).toEqual(['a.txt']);
  });

  it('is no checkpoint of a list', async () => {
    const folder = temporaryFolder();
    pipe(folder, 'exits.json');
    expect(await findExits([folder])).toEqual([]);
    expect(await exitsOfBase([folder], () => Promise.resolve(''))).toBeNull();
  });
});

it('a folder is no file, and a text of too many bytes is left out', async () => {
  const folder = temporaryFolder();
  expect(() => readText(folder)).toThrow(refusal(folder));
  await expect(openRegularBeside(folder)).rejects.toThrow(refusal(folder));
  const file = join(folder, 'x');
  writeFileSync(file, 'text');
  expect([readText(file), await readTextBeside(file, 4), await readTextBeside(file, 3)]).toEqual([
    'text',
    'text',
    null,
  ]);
  expect(() => readText(join(folder, 'none'))).toThrow('it does not exist');
});

it.skipIf(process.platform === 'win32')('bytes beyond the 2 GB that one call writes are written, too', () => {
  const descriptor = openSync('/dev/null', 'w');
  // Pages that nothing touches take no memory.
  expect(() => writeWhole(descriptor, new Uint8Array(2 ** 31 + 8))).not.toThrow();
  closeSync(descriptor);
});

it('a file that is opened cut goes on behind its first bytes, and a shorter one at its end', () => {
  const file = join(temporaryFolder(), 'x');
  for (const [most, text] of [
    [9, 'abcdef'],
    [3, 'abcx'],
    [9, 'abcxy'],
  ] as const) {
    const descriptor = openCut(file, most);
    writeWhole(descriptor, Buffer.from(text.slice(text === 'abcdef' ? 0 : -1)));
    closeSync(descriptor);
    expect(readText(file)).toBe(text);
  }
});

describe('a file written whole', () => {
  it('is that of the last writer, also if two threads write it at the same time', () => {
    const file = join(temporaryFolder(), 'x');
    const pieces = function* (): Generator<string> {
      yield 'first ';
      writeFileAtomically(file, ['another']);
      expect(readText(file)).toBe('another');
      yield 'second';
    };
    writeFileAtomically(file, pieces());
    expect(readText(file)).toBe('first second');
    expect(readdirSync(dirname(file))).toEqual(['x']);
  });

  it('takes away what killed writers of it left, and nothing else', () => {
    const folder = temporaryFolder();
    const { pid: killed } = spawnSync(process.execPath, ['-e', '']);
    const uuid = '00000000-0000-4000-8000-000000000000';
    const kept = [`.x.${process.pid}.${uuid}.tmp`, `.x.y.${killed}.${uuid}.tmp`, `.x.${killed}.copy.tmp`, '.y.tmp'];
    for (const name of [...kept, `.x.${killed}.tmp`, `.x.${killed}.${uuid}.tmp`]) writeFileSync(join(folder, name), '');
    writeFileAtomically(join(folder, 'x'), []);
    expect(readdirSync(folder).sort()).toEqual([...kept, 'x'].sort());
  });
});
