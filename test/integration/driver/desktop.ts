/**
 * The same suites in a desktop VS Code, which @vscode/test-electron downloads. The page outside is reached over
 * Chromium's debugging port, so that pictures, keys and webviews work as they do with the server.
 */
import { downloadAndUnzipVSCode, resolveCliArgsFromVSCodeExecutablePath, runTests } from '@vscode/test-electron';
import { execFile } from 'node:child_process';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import path from 'node:path';
import { promisify } from 'node:util';
import { chromium, type Page } from 'playwright-core';
import { serveControl } from './control.ts';

export interface DesktopRun {
  readonly cache: string;
  readonly extension: string;
  readonly vsix: string | null;
  readonly tests: string;
  readonly workspace: string;
  readonly settings: Record<string, unknown>;
  readonly environment: Record<string, string>;
  readonly control: string;
  readonly screenshots: string;
}

/** Resolves to the exit code of the tests. */
export async function runDesktop(run: DesktopRun): Promise<number> {
  const executable = await downloadAndUnzipVSCode({ cachePath: path.join(run.cache, 'desktop') });
  const profile = path.join(run.cache, 'desktop-profile');
  const extensions = path.join(run.cache, 'desktop-extensions');
  await rm(profile, { recursive: true, force: true });
  await rm(extensions, { recursive: true, force: true });
  await mkdir(path.join(profile, 'User'), { recursive: true });
  await writeFile(path.join(profile, 'User/settings.json'), JSON.stringify(run.settings));
  const folders = [`--user-data-dir=${profile}`, `--extensions-dir=${extensions}`];
  if (run.vsix !== null) {
    const [command, ...flags] = resolveCliArgsFromVSCodeExecutablePath(executable);
    await promisify(execFile)(command!, [...flags, ...folders, '--install-extension', run.vsix]);
  }
  const port = await freePort();
  const stopped = new AbortController();
  const control = connect(port, stopped.signal).then(
    (page) => page && serveControl(page, { directory: run.control, screenshots: run.screenshots }, stopped.signal),
  );
  try {
    return await runTests({
      vscodeExecutablePath: executable,
      extensionDevelopmentPath: run.extension,
      extensionTestsPath: run.tests,
      extensionTestsEnv: run.environment,
      launchArgs: [run.workspace, ...folders, `--remote-debugging-port=${port}`, '--skip-welcome'],
    });
  } finally {
    stopped.abort();
    await control;
  }
}

/** The workbench's page, once it is there. */
async function connect(port: number, signal: AbortSignal): Promise<Page | null> {
  while (!signal.aborted) {
    try {
      const browser = await chromium.connectOverCDP(`http://127.0.0.1:${port}`);
      const page = browser.contexts().flatMap((context) => context.pages())[0];
      if (page) return page;
      await browser.close();
    } catch {
      // Not listening yet.
    }
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  return null;
}

const freePort = (): Promise<number> =>
  new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() =>
        address !== null && typeof address === 'object' ? resolve(address.port) : reject(new Error('No free port')),
      );
    });
  });
