/** The package of npm, as someone gets it who has no clone: packed, installed without a network, and used from another folder. */
import { execFile } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';

const run = promisify(execFile);
const repository = path.resolve(import.meta.dirname, '../..');
const place = mkdtempSync(path.join(tmpdir(), 'early-exit-npm-'));
const clone = path.join(place, 'clone');
const prefix = path.join(place, 'global');
const root = path.join(prefix, 'lib/node_modules/early-exit');
const elsewhere = path.join(place, 'elsewhere');

/** A new user's: no settings, no cache, and no way to any other host, for npm or for what it might run. */
const environment = {
  PATH: process.env['PATH'],
  HOME: path.join(place, 'home'),
  HTTPS_PROXY: 'http://127.0.0.1:9',
  HTTP_PROXY: 'http://127.0.0.1:9',
};

interface Packed {
  readonly filename: string;
  readonly files: readonly { readonly path: string }[];
}

let packed: Packed;

beforeAll(async () => {
  for (const folder of [environment.HOME, elsewhere]) mkdirSync(folder, { recursive: true });
  const left = new Set(['node_modules', 'dist', '.git', '.cache', '.vscode-test', 'coverage']);
  const isSource = (file: string): boolean =>
    !left.has(path.relative(repository, file)) && !/\.(vsix|tgz|exits)$/.test(file);
  cpSync(repository, clone, { recursive: true, filter: isSource });
  symlinkSync(path.join(repository, 'node_modules'), path.join(clone, 'node_modules'));
  const { stdout } = await run('npm', ['pack', '--json'], { cwd: clone, env: environment, maxBuffer: 2 ** 26 });
  [packed] = JSON.parse(stdout) as [Packed];
  const tarball = path.join(clone, packed.filename);
  // Optional packages are platforms' additions: nothing may depend on them.
  const options = ['--prefix', prefix, '--offline', '--omit=optional', '--ignore-scripts=false'];
  await run('npm', ['install', '--global', ...options, tarball], { cwd: elsewhere, env: environment });
}, 300_000);

afterAll(() => rmSync(place, { recursive: true, force: true }));

const earlyExit = async (...words: string[]): Promise<string> => {
  const { stdout } = await run(path.join(prefix, 'bin/early-exit'), words, { cwd: elsewhere, env: environment });
  return stdout;
};

test('packing builds what runs, without source maps', () => {
  const names = packed.files.map((file) => file.path);
  expect(names).toEqual(expect.arrayContaining(['dist/cli.js', 'dist/worker.js', 'dist/server.js', 'LICENSE']));
  expect(names.filter((name) => name.endsWith('.map'))).toEqual([]);
  expect(readFileSync(path.join(root, 'dist/worker.js'), 'utf8')).not.toContain('sourceMappingURL=worker');
});

test('every platform of ONNX Runtime is there once', () => {
  const natives = packed.files
    .map((file) => file.path)
    .filter((name) => /\/libonnxruntime\.|\/onnxruntime\.dll/.test(name));
  const platforms = natives.map((name) => name.split('/').slice(-3, -1).join('-'));
  expect(platforms.sort()).toEqual(['darwin-arm64', 'linux-arm64', 'linux-x64', 'win32-arm64', 'win32-x64']);
});

test('the links of its README lead to files of the package', () => {
  const readme = readFileSync(path.join(root, 'README.md'), 'utf8');
  const links = [...readme.matchAll(/\]\(([^)#]+)/g)].map(([, link]) => link!).filter((link) => !/^https?:/.test(link));
  expect(links.length).toBeGreaterThan(5);
  expect(links.filter((link) => !existsSync(path.join(root, link)))).toEqual([]);
});

test('it needs no other package', () => {
  expect(existsSync(path.join(root, 'node_modules'))).toBe(false);
});

test('it says its version and generates with the model that ships, from any folder', async () => {
  const { version } = JSON.parse(readFileSync(path.join(repository, 'package.json'), 'utf8')) as { version: string };
  expect(await earlyExit('--version')).toBe(`${version}\n`);
  const events = (await earlyExit('generate', '--prompt', 'export function ', '--max-tokens', '8', '--json'))
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { type: string });
  expect(events.filter(({ type }) => type === 'token')).toHaveLength(8);
});

test('what its doctor advises does not ask for a clone', async () => {
  const findings = (await earlyExit('doctor', '--json'))
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { type: string; name: string; remedy: string | null });
  const remedy = (name: string): string | null | undefined => findings.find((finding) => finding.name === name)?.remedy;
  expect(remedy('webgpu')).toBe(`npm install --no-save --omit=dev --prefix "${root}" webgpu`);
  expect(findings.map((finding) => finding.remedy ?? '').join('\n')).not.toMatch(/npx|npm run|npm rebuild/);
});
