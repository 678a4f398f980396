/** The packages of npm, as someone gets them who has no clone: packed, installed without a network, and used from another folder. */
import { execFile } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { readableBundles } from '../support/bundled.ts';
import { cloneInto, repository } from '../support/clone.ts';
import { bundledFolders, missingIn } from '../support/notices.ts';

const run = promisify(execFile);
const place = mkdtempSync(path.join(tmpdir(), 'early-exit-npm-'));
const clone = path.join(place, 'clone');
const prefix = path.join(place, 'global');
const modules = path.join(prefix, 'lib/node_modules');
const root = path.join(modules, 'early-exit');
const platform = `${process.platform}-${process.arch}`;
const libraries = path.join(modules, '@early-exit', platform);
const elsewhere = path.join(place, 'elsewhere');
const { version } = JSON.parse(readFileSync(path.join(repository, 'package.json'), 'utf8')) as { version: string };
const tarballs = ['early-exit', `early-exit-${platform}`].map((name) => path.join(clone, `${name}-${version}.tgz`));

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
/** What npm wrote to standard error while it installed. */
let warned: string;

const pack = async (...options: string[]): Promise<Packed> => {
  const words = ['pack', '--json', ...options];
  const { stdout } = await run('npm', words, { cwd: clone, env: environment, maxBuffer: 2 ** 26 });
  return (JSON.parse(stdout) as [Packed])[0];
};

const install = async (to: string, files: readonly string[]): Promise<string> => {
  const words = ['install', '--global', '--prefix', to, '--offline', '--ignore-scripts=false', ...files];
  return (await run('npm', words, { cwd: elsewhere, env: environment })).stderr;
};

beforeAll(async () => {
  for (const folder of [environment.HOME, elsewhere]) mkdirSync(folder, { recursive: true });
  cloneInto(clone);
  packed = await pack();
  warned = await install(prefix, tarballs);
}, 300_000);

afterAll(() => rmSync(place, { recursive: true, force: true }), 60_000);

const earlyExit = async (...words: string[]): Promise<string> => {
  const { stdout } = await run(path.join(prefix, 'bin/early-exit'), words, { cwd: elsewhere, env: environment });
  return stdout;
};

/** Files below a folder with their sizes. */
const filesIn = (folder: string): Map<string, number> =>
  new Map(
    readdirSync(folder, { recursive: true, encoding: 'utf8' })
      .map((name) => [name, statSync(path.join(folder, name))] as const)
      .filter(([, status]) => status.isFile())
      .map(([name, { size }]) => [name, size]),
  );

const megabytes = (sizes: Iterable<number>): number => [...sizes].reduce((sum, size) => sum + size, 0) / 1e6;

test('packing builds what runs, without source maps', () => {
  const names = packed.files.map((file) => file.path);
  expect(names).toEqual(expect.arrayContaining(['dist/cli.js', 'dist/worker.js', 'dist/server.js', 'LICENSE']));
  expect(names.filter((name) => name.endsWith('.map'))).toEqual([]);
  expect(readFileSync(path.join(root, 'dist/worker.js'), 'utf8')).not.toContain('sourceMappingURL=worker');
});

test('a dry run writes nothing where all is built, and lists what packing packs', async () => {
  const times = (): unknown =>
    ['dist', '.'].map((folder) =>
      readdirSync(path.join(clone, folder)).map((name) => [name, statSync(path.join(clone, folder, name)).mtimeMs]),
    );
  // With source maps, as `npm start` and `npm test` build it.
  for (const file of readableBundles(packed.files.map((file) => file.path))) {
    const built = path.join(clone, 'dist', path.relative(inject('programs'), file));
    for (const end of ['', '.map']) cpSync(file + end, built + end);
  }
  const before = times();
  const { files } = await pack('--dry-run');
  expect(times()).toEqual(before);
  expect(files.map((file) => file.path)).toEqual(packed.files.map((file) => file.path));
});

test('installing takes two packages and little room, and warns of nothing', () => {
  expect(warned).toBe('');
  expect(readdirSync(modules)).toEqual(['@early-exit', 'early-exit']);
  expect(megabytes([statSync(tarballs[0]!).size])).toBeLessThan(30);
  expect(megabytes(filesIn(modules).values())).toBeLessThan(150);
});

test('libraries are those of this platform, in its own package', () => {
  const isLibrary = (name: string): boolean => /\.(node|so(\.\d+)?|dylib|dll|wasm)$/.test(name);
  expect(packed.files.map((file) => file.path).filter(isLibrary)).toEqual([]);
  const own = [...filesIn(libraries).keys()].filter(isLibrary);
  expect(own.filter((name) => /onnxruntime/.test(path.basename(name)))).toHaveLength(2);
  expect(own.filter((name) => path.basename(name) === 'koffi.node')).toHaveLength(1);
  expect(own.filter((name) => /ggml-cpu/.test(name)).length).toBeGreaterThan(0);
  expect(own.filter((name) => /llama[^/\\]*$|directml|dxcompiler/i.test(name))).toEqual([]);
});

test('the licences of all that is in them come along', () => {
  const [main, native] = [root, libraries].map((folder) =>
    readFileSync(path.join(folder, 'THIRD-PARTY-NOTICES'), 'utf8'),
  ) as [string, string];
  const bundled = bundledFolders(readableBundles(packed.files.map((file) => file.path)), repository);
  expect(bundled.length).toBeGreaterThan(40);
  expect(bundled.map((folder) => path.relative(repository, folder))).toEqual(
    expect.arrayContaining(['@huggingface/hub', 'uplot', '@tensorflow/tfjs-core'].map((n) => `node_modules/${n}`)),
  );
  expect(missingIn(main, bundled)).toEqual([]);
  const inside = path.join(libraries, 'lib/node_modules');
  const natives = readdirSync(inside).flatMap((name) =>
    name.startsWith('@') ? readdirSync(path.join(inside, name)).map((each) => `${name}/${each}`) : [name],
  );
  expect(natives).toHaveLength(5);
  expect(
    missingIn(
      native,
      natives.map((name) => path.join(repository, 'node_modules', name)),
    ),
  ).toEqual([]);
  for (const text of ['The ggml authors', 'Mozilla Foundation', 'Microsoft Corporation', 'protocolbuffers/protobuf'])
    expect(native).toContain(text);
});

test('the links of its README and of its pages lead to files of the package', () => {
  const pages = ['README.md', ...readdirSync(path.join(root, 'docs')).filter((name) => name.endsWith('.md'))];
  const links = pages.flatMap((name, i) => {
    const file = path.join(root, i === 0 ? '' : 'docs', name);
    return [...readFileSync(file, 'utf8').matchAll(/\]\(([^)#]+)/g)]
      .filter(([, link]) => !/^https?:/.test(link!))
      .map(([, link]) => path.join(file, '..', link!));
  });
  expect(links.length).toBeGreaterThan(50);
  expect(links.filter((link) => !existsSync(link))).toEqual([]);
});

test('without the package of the platform one sentence names it and how to get it', async () => {
  const alone = path.join(place, 'alone');
  await install(alone, tarballs.slice(0, 1));
  const words = ['generate', '--prompt', 'x', '--max-tokens', '1'];
  const failed = await run(path.join(alone, 'bin/early-exit'), words, { cwd: elsewhere, env: environment }).then(
    () => expect.unreachable(),
    (error: unknown) => error as { code: number; stderr: string },
  );
  expect(failed.code).toBe(1);
  expect(failed.stderr.split('\n').filter((line) => line.includes('error'))).toEqual([
    expect.stringContaining(`the package @early-exit/${platform} is not installed`),
  ]);
  const { stdout } = await run(path.join(alone, 'bin/early-exit'), ['doctor', '--json'], {
    cwd: elsewhere,
    env: environment,
  });
  expect(stdout).toContain(`npm install --global early-exit-${platform}-${version}.tgz`);
});

test('it says its version and generates with the model that ships, from any folder', async () => {
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
