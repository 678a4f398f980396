/** How a folder shows that early-exit wrote it: exits by their two files, models by the tag of their card. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { readText } from '../system/files.ts';

/** What describes tuned exits. */
export const infoFile = 'exits.json';
export const parametersFile = 'exits.safetensors';
/** What exits remember of tokens that left; earlier versions did not write it. */
export const memoryFile = 'memory.safetensors';
export const cardFile = 'README.md';
/** A line of the front matter of every model that is written. */
export const cardTag = 'tags: [early-exit]';

/** Whether a folder has tuned exits or a model that was written from some. Other programs may have an `exits.json`, too. */
export const isWritten = (folder: string): boolean =>
  [infoFile, parametersFile].every((file) => existsSync(join(folder, file))) || hasTag(join(folder, cardFile));

function hasTag(card: string): boolean {
  try {
    const [, matter = ''] = /^---\r?\n(.*?)\r?\n---\r?\n/s.exec(readText(card)) ?? [];
    return matter.split(/\r?\n/).includes(cardTag);
  } catch {
    // No card, or none that can be read.
    return false;
  }
}
