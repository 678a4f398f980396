/**
 * The smallest test runner that survives a window reload: steps run in order, and what has been done is kept in a file,
 * so that the run which starts after a reload goes on where the one before stopped.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterSeconds, ask, controlDirectory } from './driver.ts';

export interface Test {
  readonly name: string;
  readonly run: (() => Promise<void>) | 'reload';
  /** Seconds that it may take. */
  readonly limit: number;
}

export interface Result {
  name: string;
  /** Null if it passed. */
  error: string | null;
  milliseconds: number;
  /** Figures that the test measured, for a person. */
  notes: string[];
}

let notes: string[] = [];

/** Prints a figure beside the test's result. */
export const note = (text: string): void => void notes.push(text);

export const test = (name: string, run: () => Promise<void>, limit = 120): Test => ({ name, run, limit });

/** Reloads the window; what follows runs in a new extension host. */
export const reloadWindow: Test = { name: 'reload', run: 'reload', limit: 120 };

/** What `extensionTestsPath` must export. Fails as a whole where a test failed. */
export function suite(tests: readonly Test[]): () => Promise<void> {
  return async () => {
    const file = path.join(controlDirectory(), 'results.json');
    const state: { next: number; results: Result[] } = existsSync(file)
      ? (JSON.parse(readFileSync(file, 'utf8')) as { next: number; results: Result[] })
      : { next: 0, results: [] };
    const only = process.env.EARLY_EXIT_TEST_ONLY?.split('|') ?? [''];
    for (; state.next < tests.length;) {
      const { name, run, limit } = tests[state.next++]!;
      if (run === 'reload') {
        writeFileSync(file, JSON.stringify(state));
        await ask({ do: 'reload' });
        return new Promise(() => {}); // this extension host is about to end
      }
      if (!only.some((text) => name.includes(text))) continue;
      const start = Date.now();
      let error: string | null = null;
      notes = [];
      try {
        await withLimit(run(), limit);
      } catch (cause) {
        error = cause instanceof Error ? (cause.stack ?? cause.message) : String(cause);
        await ask({ do: 'screenshot', name: `failed-${name.replaceAll(/[^\w]+/g, '-').slice(0, 60)}` }).catch(() => {});
      }
      state.results.push({ name, error, milliseconds: Date.now() - start, notes });
      writeFileSync(file, JSON.stringify(state));
    }
    const failed = state.results.filter((result) => result.error !== null);
    if (failed.length > 0) throw new Error(`${failed.length} of ${state.results.length} tests failed`);
  };
}

const withLimit = <T>(work: Promise<T>, seconds: number): Promise<T> =>
  new Promise((resolve, reject) => {
    const callOff = afterSeconds(seconds, () => reject(new Error(`Took longer than ${seconds} s`)));
    work.then(resolve, reject).finally(callOff);
  });
