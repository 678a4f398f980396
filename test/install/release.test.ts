/** A release, made from a clone without a network, for this platform: the same bytes each time, and what its .vsix holds. */
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { readableBundles } from '../support/bundled.ts';
import { cloneInto, repository } from '../support/clone.ts';
import { bundledFolders, missingIn } from '../support/notices.ts';
import { readZip } from '../support/zip.ts';

const run = promisify(execFile);
const place = mkdtempSync(path.join(tmpdir(), 'early-exit-release-'));
const clone = path.join(place, 'clone');
const platform = `${process.platform}-${process.arch}`;
let files: Map<string, () => Buffer>;
let sums: string;

/** Nothing of the person who makes it goes in: neither the time zone nor who may read files. */
const release = async (TZ: string): Promise<string> => {
  const umask = TZ === 'UTC' ? '022' : '027';
  const command = `umask ${umask} && exec node scripts/release.mjs ${platform}`;
  const env = { ...process.env, TZ, HTTPS_PROXY: 'http://127.0.0.1:9' };
  await run('sh', ['-c', command], { cwd: clone, env, maxBuffer: 2 ** 26 });
  return readFileSync(path.join(clone, 'release/SHA256SUMS'), 'utf8');
};

beforeAll(async () => {
  cloneInto(clone);
  const author = ['-c', 'user.name=test', '-c', 'user.email=test@localhost'];
  await run('git', ['init', '--quiet'], { cwd: clone });
  // A link to the packages is no folder, which .gitignore names.
  writeFileSync(path.join(clone, '.git/info/exclude'), 'node_modules\n');
  await run('git', ['add', '--all'], { cwd: clone });
  await run('git', [...author, 'commit', '--quiet', '--message', 'all'], { cwd: clone });
  sums = await release('UTC');
  files = readZip(path.join(clone, 'release', `early-exit-${platform}.vsix`));
}, 300_000);

afterAll(() => rmSync(place, { recursive: true, force: true }), 60_000);

test('a second one has the same bytes', { timeout: 300_000 }, async () => {
  expect(sums.trim().split('\n')).toHaveLength(3);
  expect(await release('Asia/Tokyo')).toBe(sums);
});

test('none is made of what is not committed', async () => {
  writeFileSync(path.join(clone, 'README.md'), 'changed');
  await expect(run(process.execPath, ['scripts/release.mjs', platform], { cwd: clone })).rejects.toThrow(
    'There are changes that are not committed',
  );
});

const inside = `extension/dist/node_modules/@early-exit/${platform}/lib/node_modules/`;

test("it holds the package of its platform, and no other platform's", () => {
  const libraries = [...files.keys()].filter((name) => /\.(node|so(\.\d+)?|dylib|dll)$/.test(name));
  expect(libraries.filter((name) => !name.startsWith(inside))).toEqual([]);
  expect(libraries.filter((name) => /koffi\.node|onnxruntime_binding\.node/.test(name))).toHaveLength(2);
  expect(libraries.filter((name) => name.includes('ggml-cpu')).length).toBeGreaterThan(0);
});

test('the licences of all that is in it come along', () => {
  const notices = files.get('extension/THIRD-PARTY-NOTICES')!().toString();
  const natives = [...files.keys()]
    .filter((name) => name.startsWith(inside))
    .map((name) => /^(@[^/]+\/)?[^/]+/.exec(name.slice(inside.length))![0]);
  const folders = [...new Set(natives)].map((name) => path.join(repository, 'node_modules', name));
  expect(folders.length).toBe(5);
  const bundled = bundledFolders(readableBundles([...files.keys()]), repository);
  expect(bundled.length).toBeGreaterThan(40);
  expect(missingIn(notices, [...bundled, ...folders])).toEqual([]);
});
