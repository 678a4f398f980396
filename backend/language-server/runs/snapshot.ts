/**
 * The text of a run when it began, as one JSON-lines file. A user may edit the files that a run reads, but a resumed run needs the text
 * with which it began.
 */
import { createWriteStream } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import { setImmediate } from 'node:timers/promises';
import { readDocuments, type Document } from '../../data/texts/documents.ts';
import { modes, renameFile } from '../../system/files.ts';

/** Milliseconds of copying between two looks at the editor's messages. */
const SLICE_MILLISECONDS = 8;

/** A folder in which another run has only begun: until its exits exist, only its name shows what it is. */
const leftOut = '!**/*.exits/**';

/** Throws what `readDocuments` throws; nothing half-written is left behind. */
export async function snapshotText(patterns: readonly string[], file: string): Promise<void> {
  const documents = readDocuments([...patterns, leftOut]);
  await mkdir(path.dirname(file), { recursive: true, mode: modes.owner.folder });
  const partial = `${file}.partial`;
  try {
    await pipeline(linesOf(documents), createWriteStream(partial, { mode: modes.owner.file }));
    renameFile(partial, file);
  } catch (error) {
    await rm(partial, { force: true });
    throw error;
  }
}

async function* linesOf(documents: Iterable<Document>): AsyncGenerator<string, void> {
  let since = performance.now();
  for (const document of documents) {
    yield `${JSON.stringify(record(document))}\n`;
    if (performance.now() - since < SLICE_MILLISECONDS) continue;
    await setImmediate();
    since = performance.now();
  }
}

const record = (document: Document): { text: string } | { messages: readonly unknown[] } =>
  document.kind === 'text' ? { text: document.text } : { messages: document.messages };
