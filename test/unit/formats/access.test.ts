/** What is made is its owner's alone, whatever the umask; what a user asks for to hand on is as the umask has it. */
import * as fs from 'node:fs';
import * as path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createTokenFile } from '../../../backend/data/texts/token-file.ts';
import { openFeatureCache } from '../../../backend/features/cache.ts';
import { copyFile, makeFolder, openForWriting, writeFileAtomically } from '../../../backend/system/files.ts';
import { takeLock } from '../../../backend/system/lock.ts';
import { runStore } from '../../../backend/language-server/runs/store.ts';
import { snapshotText } from '../../../backend/language-server/runs/snapshot.ts';
import type { RunSummary } from '../../../protocol/server.ts';
import { temporaryFolder } from './fixtures.ts';

describe.skipIf(process.platform === 'win32')('what is made', () => {
  let before: number;
  beforeAll(() => (before = process.umask(0o022)));
  afterAll(() => void process.umask(before));

  /** Modes of everything below a folder, by name. */
  const modesIn = (folder: string): Record<string, string> =>
    Object.fromEntries(
      fs
        .readdirSync(folder, { recursive: true, encoding: 'utf8' })
        .map((name) => [name, (fs.lstatSync(path.join(folder, name)).mode & 0o777).toString(8)]),
    );
  const isPrivate = (folder: string): void => {
    for (const [name, mode] of Object.entries(modesIn(folder)))
      expect([name, mode]).toEqual([name, fs.statSync(path.join(folder, name)).isDirectory() ? '700' : '600']);
  };

  it('is private', () => {
    const root = temporaryFolder();
    makeFolder(path.join(root, 'a/b'));
    writeFileAtomically(path.join(root, 'c/d.json'), ['{}']);
    fs.closeSync(openForWriting(path.join(root, 'a/log'), 'a'));
    fs.writeFileSync(path.join(root, 'a/open'), 'x', { mode: 0o644 });
    copyFile(path.join(root, 'a/open'), path.join(root, 'a/copy'));
    fs.rmSync(path.join(root, 'a/open'));
    const lock = takeLock(path.join(root, 'a/.lock'));
    isPrivate(root);
    if ('release' in lock) lock.release();
  });

  it('is private: text, tokens, hidden states and runs', async () => {
    const root = temporaryFolder();
    const text = path.join(temporaryFolder(), 'text.md');
    fs.writeFileSync(text, 'Some text.');
    await snapshotText([text], path.join(root, 'runs/a/text.jsonl'));
    const store = runStore(path.join(root, 'runs'));
    await store.save({ summary: { id: 'b' } as RunSummary, options: {}, owner: null });
    await store.append('b', []);
    const writer = createTokenFile(path.join(root, 'tokens/a.tokens'), 8, 0);
    writer.append([1, 2, 3], {});
    writer.finish().close();
    const cache = openFeatureCache({ root: path.join(root, 'features'), key: { backbone: 'b', data: 'd', tokens: 2 } });
    cache.write(new Map([[0, new Map([['1.end', new Float32Array(4)]])]]));
    cache.close();
    expect(Object.keys(modesIn(root)).length).toBeGreaterThanOrEqual(10);
    isPrivate(root);
  });

  it('is as the umask has it where that is asked', () => {
    const root = temporaryFolder();
    makeFolder(path.join(root, 'a'), 'umask');
    writeFileAtomically(path.join(root, 'a/b'), ['x'], 'umask');
    expect(modesIn(root)).toEqual({ a: '755', 'a/b': '644' });
  });
});
