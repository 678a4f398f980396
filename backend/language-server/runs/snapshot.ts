/**
 * The text of a run when it began, as one JSON-lines file. A user may edit the files that a run reads, but a resumed run needs the text
 * with which it began.
 */
import { createWriteStream } from 'node:fs';
import { mkdir, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import { once } from 'node:events';
import { readDocuments, type Document } from '../../data/documents.ts';
import { modes } from '../../system/files.ts';

/** Milliseconds of copying between two looks at the editor's messages. */
const SLICE_MILLISECONDS = 8;

/** A folder in which another run has only begun: until its exits exist, only its name shows what it is. */
const leftOut = '!**/*.exits/**';

/** Throws what `readDocuments` throws; nothing half-written is left behind. */
export async function snapshotText(patterns: readonly string[], file: string): Promise<void> {
  const documents = readDocuments([...patterns, leftOut]);
  await mkdir(path.dirname(file), { recursive: true, mode: modes.owner.folder });
  const partial = `${file}.partial`;
  const stream = createWriteStream(partial, { mode: modes.owner.file });
  try {
    let since = performance.now();
    for (const document of documents) {
      if (!stream.write(`${JSON.stringify(record(document))}\n`)) await once(stream, 'drain');
      if (performance.now() - since < SLICE_MILLISECONDS) continue;
      await new Promise((resolve) => setImmediate(resolve));
      since = performance.now();
    }
    stream.end();
    await once(stream, 'close');
    await rename(partial, file);
  } catch (error) {
    stream.destroy();
    await rm(partial, { force: true });
    throw error;
  }
}

const record = (document: Document): { text: string } | { messages: readonly unknown[] } =>
  document.kind === 'text' ? { text: document.text } : { messages: document.messages };
