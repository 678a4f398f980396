/** Opens the workbench of a VS Code server in a page, which starts the tests by itself, and follows it to its end. */
import type { WriteStream } from 'node:fs';
import type { Browser, Page } from 'playwright-core';
import { afterSeconds } from '../harness/driver.ts';
import { HOST } from './server.ts';
import { serveControl, type ControlOptions } from './control.ts';

export interface Window {
  readonly port: number;
  readonly folder: string;
  /** Folder of the extension that is run from source; VS Code needs one to run tests at all. */
  readonly extension: string;
  readonly tests: string;
  readonly limitSeconds: number;
  readonly control: ControlOptions;
}

/** What the workbench itself logs in every run; it is in the log file all the same. */
const noise =
  /^(Resolv(ing|ed) connection token|Creating a socket|Updating additional|Creation of workbench|Ignoring fetching|ChatSessionStore|\[Service Worker\])/;

/** Resolves to the exit code of the tests. */
export async function runWindow(browser: Browser, window: Window, log: WriteStream): Promise<number> {
  const remote = (file: string): string => `vscode-remote://${HOST}:${window.port}${file}`;
  const payload = [
    ['extensionDevelopmentPath', remote(window.extension)],
    ['extensionTestsPath', remote(window.tests)],
    ['skipWelcome', 'true'],
  ];
  const query = new URLSearchParams({ folder: window.folder, payload: JSON.stringify(payload) });
  // Without a graphics card, the frames of progress bars and spinners would take as long as the tests.
  const viewport = { width: 1280, height: 800 };
  const context = await browser.newContext({ viewport, locale: 'en-US', reducedMotion: 'reduce' });
  const page = await context.newPage();
  const stopped = new AbortController();
  try {
    const exitCode = watch(page, window, log);
    await page.goto(`http://${HOST}:${window.port}/?${query.toString()}`, { waitUntil: 'commit' });
    const control = serveControl(page, window.control, stopped.signal);
    return await Promise.race([exitCode, control.then(() => 1)]);
  } finally {
    await page.screenshot({ path: `${window.control.screenshots}/end.png`, type: 'png' }).catch(() => {});
    stopped.abort();
    await page.close({ runBeforeUnload: false });
    await context.close();
  }
}

async function watch(page: Page, window: Window, log: WriteStream): Promise<number> {
  page.on('console', (message) => log.write(`[workbench] ${message.text()}\n`));
  page.on('requestfailed', (request) => log.write(`[failed] ${request.url()} ${request.failure()?.errorText ?? ''}\n`));
  page.on('pageerror', (error) => log.write(`[page error] ${error.stack ?? error.message}\n`));
  return new Promise<number>((resolve, reject) => {
    page.once('crash', () => reject(new Error('The workbench page crashed')));
    afterSeconds(window.limitSeconds, () => reject(new Error(`Timed out after ${window.limitSeconds} s`)));
    // VS Code calls these two functions where they exist; what the extension host prints comes through the first.
    Promise.all([
      page.exposeFunction('codeAutomationLog', (level: string, args: unknown[]) => {
        const text = args.join(' ');
        if (!noise.test(text) && (level === 'error' || level === 'warn')) log.write(`[${level}] ${text}\n`);
      }),
      page.exposeFunction('codeAutomationExit', resolve),
    ]).catch(reject);
  });
}
