/**
 * Runs the integration suites inside a real VS Code: `server` (default) in a VS Code server from the npm registry with a
 * headless Chromium, `desktop` in a desktop VS Code that @vscode/test-electron downloads. Ends with `N passed, N failed`.
 *
 *     tsx test/integration/run.ts [server|desktop] [--only SUITE,…] [--test TEXT|…] [--extension DIR] [--release oldest|newest]
 *     tsx test/integration/run.ts --install
 *
 * --install brings the VS Code servers and runs nothing. --release runs the suites in that VS Code server instead of the one that each asks for.
 */
import { execFile } from 'node:child_process';
import { createWriteStream, existsSync } from 'node:fs';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { parseArgs, promisify } from 'node:util';
import { chromium } from 'playwright-core';
import { bundleSuites } from './driver/bundle.ts';
import { findChromium } from './driver/chromium.ts';
import { runDesktop } from './driver/desktop.ts';
import { ensureServer, startServer, type Installed, type Release } from './driver/server.ts';
import { commonSettings, makeWorkspace, sessions, trustSettings, type Session } from './driver/sessions.ts';
import { runWindow } from './driver/workbench.ts';
import { backendsOf } from './harness/backends.ts';
import type { Result } from './harness/suite.ts';

const repository = path.resolve(import.meta.dirname, '../..');
const cache = path.join(repository, '.cache/integration');

/** Follows each session. */
const closingTest = 'no backend outlives the window';

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      only: { type: 'string' },
      test: { type: 'string' },
      extension: { type: 'string' },
      release: { type: 'string' },
      install: { type: 'boolean', default: false },
    },
  });
  if (values.install) {
    await Promise.all(installAll(new Set(sessions.map(({ release = 'oldest' }) => release))).values());
    return 0;
  }
  const host = positionals[0] ?? 'server';
  const only = values.only?.split(',');
  const chosen = sessions.filter(({ name, byName = false }) => (only ? only.includes(name) : !byName));
  if (chosen.length === 0 || (host !== 'server' && host !== 'desktop')) {
    console.error(`Known hosts: server, desktop. Known suites: ${sessions.map(({ name }) => name).join(', ')}.`);
    return 2;
  }
  const release = (['oldest', 'newest'] as const).find((each) => each === values.release);
  if (values.release !== undefined && release === undefined) {
    console.error('Known releases: oldest, newest.');
    return 2;
  }
  const source = path.resolve(values.extension ?? repository);
  if (!existsSync(path.join(source, 'dist/extension.cjs'))) {
    console.error('dist/ is missing: run npm run build first.');
    return 2;
  }
  const control = path.join(cache, 'control');
  const suites = await bundleSuites(
    path.join(import.meta.dirname, 'suites'),
    chosen.map(({ name }) => name),
    path.join(cache, 'suites'),
  );
  const environment = {
    EARLY_EXIT_TEST_CONTROL: control,
    EARLY_EXIT_TEST_REPOSITORY: repository,
    EARLY_EXIT_TEST_ONLY: values.test ?? '',
    ...madeUpCaches,
    EARLY_EXIT_PYTHON: path.join(import.meta.dirname, 'harness/python-stand-in.sh'),
  };
  const run = host === 'server' ? await inServer(source, environment, chosen, release) : inDesktop(source, environment);
  const all: { suite: string; results: Result[] }[] = [];
  for (const session of chosen) {
    const screenshots = path.join(cache, 'screenshots', session.name);
    const workspace = path.join(cache, 'workspaces', session.name);
    await rm(control, { recursive: true, force: true });
    await mkdir(control, { recursive: true });
    await rm(screenshots, { recursive: true, force: true });
    await mkdir(screenshots, { recursive: true });
    await rm(path.join(cache, 'caches'), { recursive: true, force: true });
    await makeWorkspace(repository, workspace, session);
    const start = Date.now();
    let orphans: string | null = null;
    const lookForOrphans = async (): Promise<void> => void (orphans = await survivors(control));
    const failure = await run
      .session(session, { workspace, screenshots, tests: suites.get(session.name)!, control }, lookForOrphans)
      .then((code) => (code === 0 ? null : `ended with code ${code}`))
      .catch((error: unknown) => String(error));
    const closing = { name: closingTest, error: orphans, milliseconds: 0, notes: [] };
    const results = await report(
      session.name,
      control,
      failure,
      Date.now() - start,
      closing,
      values.test === undefined,
    );
    all.push({ suite: session.name, results });
  }
  await run.end();
  await writeFile(path.join(cache, 'results.json'), JSON.stringify(all, null, 2));
  const results = all.flatMap((suite) => suite.results);
  if (values.test !== undefined && results.every(({ name }) => name === closingTest)) {
    console.error(`No test of these suites has ${values.test} in its name.`);
    return 2;
  }
  const failed = results.filter((result) => result.error !== null).length;
  console.log(`\n${results.length - failed} passed, ${failed} failed`);
  return failed === 0 ? 0 : 1;
}

/** Folders in which models of other programs are searched, instead of this machine's own; and the address of a hub that does not exist. */
const madeUpCaches = {
  HF_HUB_CACHE: path.join(cache, 'caches/huggingface'),
  OLLAMA_MODELS: path.join(cache, 'caches/ollama'),
  LLAMA_CACHE: path.join(cache, 'caches/llama.cpp'),
  LMSTUDIO_MODELS: path.join(cache, 'caches/lm-studio'),
  HF_ENDPOINT: 'http://127.0.0.1:9',
};

interface Place {
  workspace: string;
  screenshots: string;
  tests: string;
  control: string;
}

interface Host {
  /** `closed` is called once the window is closed, while whatever it started could still run. */
  session(session: Session, place: Place, closed: () => Promise<void>): Promise<number>;
  end(): Promise<void>;
}

async function inServer(
  source: string,
  environment: Record<string, string>,
  chosen: readonly Session[],
  release?: Release,
): Promise<Host> {
  await mkdir(cache, { recursive: true });
  const releaseOf = (session: Session): Release => release ?? session.release ?? 'oldest';
  const installed = installAll(new Set(chosen.map(releaseOf)));
  const log = createWriteStream(path.join(cache, 'workbench.log'));
  const browser = await chromium.launch({ executablePath: await findChromium(cache) });
  return {
    session: async (session, place, closed) => {
      // A server of its own for each session: extensions and settings of one must not reach the next.
      const settings = { ...commonSettings, ...trustSettings(session.untrusted ?? false), ...session.settings };
      const server = await startServer(await installed.get(releaseOf(session))!, settings, log, environment);
      try {
        const extension = session.packaged ? await emptyExtension() : source;
        if (session.packaged) await server.installExtension(await packagedExtension());
        const code = await runWindow(
          browser,
          {
            port: server.port,
            folder: place.workspace,
            extension,
            tests: place.tests,
            limitSeconds: session.limit ?? 400,
            control: { directory: place.control, screenshots: place.screenshots },
          },
          log,
        );
        await closed();
        return code;
      } finally {
        await server.stop();
      }
    },
    end: async () => {
      await browser.close();
      log.end();
    },
  };
}

/** One after the other, the next while suites run in the first. */
function installAll(releases: Iterable<Release>): Map<Release, Promise<Installed>> {
  const all = new Map<Release, Promise<Installed>>();
  let before: Promise<unknown> = Promise.resolve();
  for (const each of releases) {
    const installing = before.then(() => ensureServer(cache, each));
    all.set(each, installing);
    before = installing.catch(() => {}); // the session that needs it says why
  }
  return all;
}

function inDesktop(source: string, environment: Record<string, string>): Host {
  return {
    session: async (session, place, closed) => {
      const code = await runDesktop({
        cache,
        extension: session.packaged ? await emptyExtension() : source,
        vsix: session.packaged ? await packagedExtension() : null,
        settings: { ...commonSettings, ...trustSettings(session.untrusted ?? false), ...session.settings },
        environment,
        ...place,
      });
      await closed();
      return code;
    },
    end: async () => {},
  };
}

/** Backends that still run some seconds after their window was closed, as a sentence; null if there are none. */
async function survivors(control: string): Promise<string | null> {
  let found: number[] = [];
  for (let tries = 0; tries < 60; tries++) {
    found = backendsOf(control);
    if (found.length === 0) return null;
    await new Promise((resolve) => setTimeout(resolve, 250));
  }
  return `still there: ${found.join(', ')}`;
}

/** VS Code runs tests only beside an extension from source: this one does nothing. */
async function emptyExtension(): Promise<string> {
  const directory = path.join(cache, 'empty-extension');
  await mkdir(directory, { recursive: true });
  const manifest = { name: 'empty', publisher: 'test', version: '0.0.1', engines: { vscode: '^1.100.0' } };
  await writeFile(path.join(directory, 'package.json'), JSON.stringify(manifest));
  return directory;
}

/** Packages the extension anew, so that what is tested is what is there. */
async function packagedExtension(): Promise<string> {
  await promisify(execFile)(process.execPath, ['scripts/package.mjs'], { cwd: repository, maxBuffer: 2 ** 26 });
  return path.join(repository, `early-exit-${process.platform}-${process.arch}.vsix`);
}

async function report(
  suite: string,
  control: string,
  failure: string | null,
  time: number,
  closing: Result,
  mustHaveTests: boolean,
): Promise<Result[]> {
  const file = path.join(control, 'results.json');
  const { results } = existsSync(file)
    ? (JSON.parse(await readFile(file, 'utf8')) as { results: Result[] })
    : { results: [] };
  const problem = failure ?? (results.length === 0 && mustHaveTests ? 'it ran no test' : null);
  if (problem !== null && results.every((result) => result.error === null)) {
    results.push({ name: 'the session as a whole', error: problem, milliseconds: time, notes: [] });
  }
  results.push(closing);
  console.log(`${suite} (${(time / 1000).toFixed(1)} s)`);
  for (const { name, error, milliseconds, notes } of results) {
    console.log(`  ${error === null ? '✓' : '✗'} ${name} (${milliseconds} ms)`);
    for (const note of notes) console.log(`      ${note}`);
    if (error !== null) console.log(error.replace(/^/gm, '      '));
  }
  return results;
}

process.exitCode = await main().catch((error: unknown) => {
  console.error(error);
  console.log('0 passed, 1 failed');
  return 1;
});
