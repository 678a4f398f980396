/** Runs that were under way when their window closed: whether there are any that a backend would take up. */
import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import type { ExtensionContext } from 'vscode';
import { readMessage, record, text } from '../../protocol/shapes.ts';

/** Where runs are recorded: in storage of the folder, so that its next window finds them. */
export const runsFolder = (context: ExtensionContext): string =>
  path.join((context.storageUri ?? context.globalStorageUri).fsPath, 'runs');

/** Whether a run is on record as running. The backend alone knows whether its process is gone. */
export async function hasInterruptedRun(runs: string): Promise<boolean> {
  const names = await readdir(runs).catch(() => []);
  const found = await Promise.all(names.map((name) => isRunning(path.join(runs, name, 'run.json'))));
  return found.includes(true);
}

const recorded = record({ summary: record({ state: text }) });

async function isRunning(file: string): Promise<boolean> {
  try {
    return readMessage(file, recorded, JSON.parse(await readFile(file, 'utf8'))).summary.state === 'running';
  } catch {
    return false; // no record of a run
  }
}
