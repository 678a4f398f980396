/**
 * Before all tests: bundles the programs once. A process or thread that starts from sources reads and compiles hundreds of files, each
 * time for longer than most tests take.
 */
import { mkdirSync, readdirSync, rmSync } from 'node:fs';
import path from 'node:path';
import { build, type BuildOptions } from 'esbuild';
import type { TestProject } from 'vitest/node';

declare module 'vitest' {
  interface ProvidedContext {
    /** Folder of the bundles. */
    programs: string;
  }
}

const place = path.resolve(import.meta.dirname, '../../.cache/test/programs');
const { bundle, forNode } = (await import(path.resolve(import.meta.dirname, '../../scripts/bundle.mjs'))) as {
  bundle: (out: string, options: { forPackage: boolean }) => Promise<unknown>;
  forNode: BuildOptions;
};
/** Programs of tests that start many times, and one that measures its own memory. */
const children = [
  'parity/gpu-child',
  'parity/cpu-variants-child',
  'parity/resume-child',
  'parity/resume-recipe-child',
  'parity/devices-child',
  'support/memory-child',
  'trial/recipe-child',
  'unit/onnx/telemetry-child',
  'unit/worker/fake-entry',
  'unit/worker/idle-child',
];
const tests = path.resolve(import.meta.dirname, '..');

/** Again before tests run again. Another run beside this one has bundles of its own. */
export async function setup(project: TestProject): Promise<() => void> {
  const folder = path.join(place, `${process.pid}`);
  mkdirSync(place, { recursive: true });
  for (const pid of readdirSync(place)) if (!isRunning(Number(pid))) rmSync(path.join(place, pid), { recursive: true });
  const make = async (): Promise<void> => {
    await bundle(folder, { forPackage: false });
    const entryPoints = children.map((name) => path.join(tests, `${name}.ts`));
    await build({ ...forNode, entryPoints, entryNames: '[name]', outdir: folder, bundle: true, logLevel: 'warning' });
  };
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
