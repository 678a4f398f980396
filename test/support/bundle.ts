/**
 * Before all tests: bundles the programs once. A process or thread that starts from sources reads and compiles hundreds of files, each
 * time for longer than most tests take.
 */
import { mkdirSync, readdirSync, rmSync } from 'node:fs';
import path from 'node:path';
import type { TestProject } from 'vitest/node';

declare module 'vitest' {
  interface ProvidedContext {
    /** Folder of the bundles. */
    programs: string;
  }
}

const place = path.resolve(import.meta.dirname, '../../.cache/test/programs');
const { bundle } = (await import(path.resolve(import.meta.dirname, '../../scripts/bundle.mjs'))) as {
  bundle: (out: string, options: { forPackage: boolean }) => Promise<unknown>;
};

/** Again before tests run again. Another run beside this one has bundles of its own. */
export async function setup(project: TestProject): Promise<() => void> {
  const folder = path.join(place, `${process.pid}`);
  mkdirSync(place, { recursive: true });
  for (const pid of readdirSync(place)) if (!isRunning(Number(pid))) rmSync(path.join(place, pid), { recursive: true });
  const make = async (): Promise<void> => void (await bundle(folder, { forPackage: false }));
  await make();
  project.provide('programs', folder);
  project.onTestsRerun(make);
  return () => rmSync(folder, { recursive: true, force: true });
}

function isRunning(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}
