/**
 * Tries a native library in a process of its own before this process loads it, so that a crash, a hang or its output on stderr stays there.
 * Only tries; other files choose.
 */
import { createRequire } from 'node:module';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { execa } from 'execa';
import { startedIn } from './programs.ts';

/** What a probe found, or one sentence on why it found nothing. */
export type Probe<T> = { readonly found: T } | { readonly problem: string };

export interface Adapter {
  /** Such as `NVIDIA GeForce RTX 4090`. */
  readonly name: string;
  /** Computes on the CPU. */
  readonly software: boolean;
}

/** Milliseconds; a driver's first start takes seconds, and a software adapter compiles slowly. */
const timeLimit = 60_000;

/**
 * Runs a CommonJS program in a fresh Node and reads what it prints as JSON after a mark. `input` is its `input` constant.
 */
export async function probe<T>(program: string, input: unknown, signal?: AbortSignal): Promise<Probe<T>> {
  const code = `const input = ${JSON.stringify(input)};
process.stdin.on('end', () => process.exit(1)).resume(); // the parent has ended
const report = (found) => process.stdout.write('\\n${mark}' + JSON.stringify(found) + '\\n', () => process.exit(0));
(async () => { ${program} })().catch((error) => report({ problem: String(error?.message ?? error) }));`;
  const own = startedIn(path.dirname(process.execPath));
  const child = await execa(process.execPath, ['-e', code], {
    ...own,
    reject: false,
    timeout: timeLimit,
    stdin: 'pipe',
    ...(signal && { cancelSignal: signal }),
  });
  signal?.throwIfAborted();
  const line = child.stdout.split('\n').findLast((each) => each.startsWith(mark));
  if (line !== undefined) return JSON.parse(line.slice(mark.length)) as Probe<T>;
  if (child.timedOut) return { problem: `it did not answer in ${timeLimit / 1000} seconds` };
  if (child.signal) return { problem: `it crashed (${child.signal})` };
  return { problem: lastLine(child.stderr) || `it ended with code ${child.exitCode}` };
}

/** The adapter that WebGPU would use, queried through Dawn (the package `webgpu`). */
export async function probeAdapter(signal?: AbortSignal): Promise<Probe<Adapter>> {
  const entry = resolvePackage('webgpu');
  if (entry === null) return { problem: 'the package webgpu, which tells one adapter from another, is not installed' };
  const info = await probe<AdapterInfo>(adapterProgram, pathToFileURL(entry).href, signal);
  return 'problem' in info ? info : { found: describeAdapter(info.found) };
}

export interface AdapterInfo {
  readonly vendor: string;
  readonly architecture: string;
  readonly device: string;
  readonly description: string;
  readonly isFallbackAdapter: boolean;
}

const adapterProgram = `
  const { create } = await import(input);
  const gpu = create([]);
  const adapter = await gpu.requestAdapter({ powerPreference: 'high-performance' });
  if (!adapter) return report({ problem: 'there is no graphics driver that WebGPU can use' });
  const { vendor, architecture, device, description, isFallbackAdapter } = adapter.info;
  report({ found: { vendor, architecture, device, description, isFallbackAdapter: isFallbackAdapter === true } });`;

const softwareNames = /swiftshader|llvmpipe|lavapipe|softpipe|software|basic render|\bwarp\b|\bcpu\b/i;

/** Whether a card has the name of something that computes on the CPU. */
export const isSoftware = (name: string): boolean => softwareNames.test(name);

/** A software adapter, by its own statement or by its name. */
export function describeAdapter(info: AdapterInfo): Adapter {
  const { vendor, architecture, device, description, isFallbackAdapter } = info;
  const words = [vendor, architecture, device, description];
  return {
    name: device && description ? `${device} (${description})` : device || description || vendor || 'no name',
    software: isFallbackAdapter || isSoftware(words.join(' ')),
  };
}

/** The file that a package's name leads to from here, or null if it is not installed. */
export function resolvePackage(name: string): string | null {
  try {
    return createRequire(import.meta.url).resolve(name);
  } catch {
    return null;
  }
}

const mark = '@early-exit@';

const lastLine = (text: string): string =>
  text
    .trim()
    .split('\n')
    .findLast((line) => line.trim() !== '')
    ?.trim() ?? '';
