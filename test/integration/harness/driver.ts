/** What a test asks of the driver outside the editor: pictures, keys, reloads, and what a webview drew. */
import { existsSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';

export type DriverRequest =
  /** Of the whole page, or of the first element that a selector finds. */
  | { do: 'screenshot'; name: string; selector?: string }
  | { do: 'reload' }
  | { do: 'resize'; width: number; height: number }
  | { do: 'press'; key: string }
  | { do: 'type'; text: string }
  /** Evaluates an expression in the workbench's page. */
  | { do: 'workbench'; expression: string }
  /** Evaluates an expression in the webview whose body says `data-view`. */
  | { do: 'view'; view: string; expression: string }
  | { do: 'click'; view: string | null; selector: string }
  | { do: 'hover'; view: string | null; selector: string; position: { x: number; y: number } | null };

export type DriverAnswer = { value: unknown } | { error: string };

export const controlDirectory = (): string => {
  const directory = process.env.EARLY_EXIT_TEST_CONTROL;
  if (directory === undefined) throw new Error('EARLY_EXIT_TEST_CONTROL is not set: run the suites through the driver');
  return directory;
};

let requests = 0;

export async function ask(request: DriverRequest): Promise<unknown> {
  const file = path.join(controlDirectory(), `${process.pid}-${requests++}.request.json`);
  writeFileSync(`${file}.partial`, JSON.stringify(request));
  renameSync(`${file}.partial`, file);
  const response = file.replace('.request.', '.response.');
  while (!existsSync(response)) await delay(20); // the driver's time-out bounds this
  const answer = JSON.parse(readFileSync(response, 'utf8')) as DriverAnswer;
  rmSync(response);
  if ('error' in answer) throw new Error(answer.error);
  return answer.value;
}

export const screenshot = (name: string, selector?: string): Promise<unknown> =>
  ask({ do: 'screenshot', name, ...(selector !== undefined && { selector }) });
/** The window that tests run in, and the smallest that everything shall be usable in. */
export const sizes = { large: { width: 1280, height: 800 }, small: { width: 800, height: 600 } } as const;
export const resize = (size: keyof typeof sizes): Promise<unknown> => ask({ do: 'resize', ...sizes[size] });
export const press = (key: string): Promise<unknown> => ask({ do: 'press', key });
export const inView = <T>(view: string, expression: string): Promise<T> =>
  ask({ do: 'view', view, expression }) as Promise<T>;
export const inWorkbench = <T>(expression: string): Promise<T> => ask({ do: 'workbench', expression }) as Promise<T>;

/**
 * Resolves behind what VS Code has put off for an idle moment, or five seconds where none comes, which is so in a browser that
 * draws nothing: a new editor asks for completions while one types only from then on.
 */
export const idle = (): Promise<unknown> =>
  inWorkbench('new Promise((resolve) => requestIdleCallback(() => resolve(null), { timeout: 5000 }))');

export const delay = (milliseconds: number): Promise<void> =>
  new Promise((resolve) => setTimeout(resolve, milliseconds));

const lookMilliseconds = 50;

/**
 * Polls until `probe` returns something other than undefined, null or false. Looks are counted, not the clock: while the machine stands
 * still or is busy with others, no time is over.
 */
export async function until<T>(
  what: string,
  probe: () => T | undefined | null | false | Promise<T | undefined | null | false>,
  seconds = 30,
): Promise<T> {
  for (let looks = (1000 * seconds) / lookMilliseconds; looks > 0; looks--) {
    const value = await probe();
    if (value !== undefined && value !== null && value !== false) return value;
    await delay(lookMilliseconds);
  }
  throw new Error(`Waited ${seconds} s for ${what}`);
}

/** Calls back after this number of seconds in which this process ran; returns how to cancel it. */
export function afterSeconds(seconds: number, act: () => void): () => void {
  let left = seconds;
  const timer = setInterval(() => {
    if (--left > 0) return;
    clearInterval(timer);
    act();
  }, 1000);
  timer.unref();
  return () => clearInterval(timer);
}
