/** llama.cpp as a contestant: node-llama-cpp, installed by the bench alone, with its prebuilt binaries and no install script. */
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { execa } from 'execa';
import { packageName } from '../../../backend/ggml/packages.ts';
import { benchCache } from '../material.ts';
import type { Clock } from '../measure.ts';
import { startChild, type Child } from './child.ts';
import { childDecoder, type Decoder } from './decoder.ts';

export const llamaVersion = '3.22.1';
const folder = path.join(benchCache, `llama-${llamaVersion}`);
export const llamaLibrary = path.join(folder, 'node_modules/node-llama-cpp/dist/index.js');

/** Whether llama.cpp can run here; installs it on first use. Says why not. */
export async function installLlama(): Promise<boolean> {
  const binaries = packageName();
  if (binaries === null) {
    console.warn(`Left out: node-llama-cpp has no binaries for ${process.platform} ${process.arch}.`);
    return false;
  }
  if (existsSync(llamaLibrary)) return true;
  console.error(`Installing node-llama-cpp ${llamaVersion} for the comparison …`);
  mkdirSync(folder, { recursive: true });
  writeFileSync(path.join(folder, 'package.json'), '{ "private": true, "type": "module" }\n');
  const packages = ['node-llama-cpp', binaries].map((name) => `${name}@${llamaVersion}`);
  const { failed, stderr } = await execa(
    'npm',
    ['install', '--ignore-scripts', '--omit=optional', '--no-audit', '--no-fund', ...packages],
    { cwd: folder, reject: false },
  );
  if (failed) console.warn(`Left out: node-llama-cpp could not be installed. ${stderr.trim().split('\n').at(-1)}`);
  return !failed;
}

interface LlamaOptions {
  readonly model: string;
  readonly threads: number;
  readonly contextSize: number;
}

/** The process that llama.cpp runs in, before a model is opened there. */
export async function llamaChild(clock: Clock): Promise<Child> {
  const child = startChild('llama.cpp', 'llama-child.mjs', clock);
  await child.ask({ type: 'load', library: llamaLibrary });
  return child;
}

/** One sequence. The child ends with `dispose`. */
export async function llamaDecoder(options: LlamaOptions, clock: Clock = 'wall'): Promise<Decoder> {
  const child = await llamaChild(clock);
  await child.ask({ type: 'open', ...options });
  return childDecoder(child);
}
