/** This project as a contestant in a process of its own. */
import path from 'node:path';
import { build } from 'esbuild';
import { benchCache } from '../material.ts';
import type { Clock } from '../measure.ts';
import { startChild, type Child } from './child.ts';

const bundle = path.join(benchCache, 'ours-child.mjs');
let bundled: Promise<unknown> | null = null;

/** A process of our own, bundled as users have the program, before a model is opened there. */
export async function ourChild(clock: Clock): Promise<Child> {
  bundled ??= build({
    entryPoints: [path.join(import.meta.dirname, 'ours-child.ts')],
    outfile: bundle,
    bundle: true,
    platform: 'node',
    format: 'esm',
    external: ['koffi', 'onnxruntime-node', '@node-llama-cpp/*'],
    banner: {
      js: "import { createRequire as makeRequire } from 'node:module'; const require = makeRequire(import.meta.url);",
    },
    logLevel: 'error',
  });
  await bundled;
  return startChild('this project', bundle, clock);
}
