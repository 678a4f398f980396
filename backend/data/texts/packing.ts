/** Documents to token files: tokenised once, split into training and held-out documents, packed into windows. */
import { plural } from '../../../protocol/plural.ts';
import { createHash } from 'node:crypto';
import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { UserError, userError } from '../../../protocol/errors.ts';
import { encodeChat, type EncodedChat } from '../prompts/chat.ts';
import type { Document } from './documents.ts';
import { keepNewest, markUsed } from '../../system/user-cache.ts';
import { createTokenFile, openTokenFile, type TokenSet, type TokenWriter } from './token-file.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';

export interface PackingOptions {
  /** Folder of the token files; files of the same data, tokenizer and options are reused. */
  readonly directory: string;
  /** Positions of a window. */
  readonly windowLength: number;
  /** Share of the documents that is held out, 0 for none. */
  readonly heldOutFraction: number;
  readonly seed: number;
  /** Rows of the model's vocabulary; by default every token has one. Added tokens may have none, see `encodeText`. */
  readonly vocabulary?: number;
  /** Bytes that all token files of the folder may take together, by default 8 GiB; those used longest ago are removed first. */
  readonly mostBytes?: number;
  /** Which sets are wanted; default both. */
  readonly parts?: readonly Part[];
  /** Documents tokenised so far, of all. */
  readonly onProgress?: (done: number, total: number) => void;
  readonly signal?: AbortSignal;
}

export type Part = 'train' | 'heldOut';

export interface TokenSets {
  /** The same for the same documents, tokenizer and options: what a resumed run compares. */
  readonly id: string;
  /** Whether all documents are chats. */
  readonly areChats: boolean;
  /** Null if not wanted. */
  readonly train: TokenSet | null;
  readonly heldOut: TokenSet | null;
  close(): void;
}

/**
 * Packs documents. Whether a document is held out depends on a seeded hash of its content, not on its name or on other documents. With few
 * documents the one with the smallest hash is held out and the one with the largest is not, and of a single text its end is held out. Texts are joined by the end-of-text token. Of
 * conversations only the assistant's tokens are targets, and one that fits a window is not cut. Throws `bad-data` if a wanted set would be
 * empty or the model cannot read a text, `cancelled` when aborted.
 */
export async function packDocuments(
  documents: Iterable<Document>,
  tokenizer: Tokenizer,
  options: PackingOptions,
): Promise<TokenSets> {
  const survey = await surveyDocuments(documents, options);
  const id = identify(survey, tokenizer, options);
  const parts = options.parts ?? ['train', 'heldOut'];
  const wanted = parts.filter((part) => part === 'train' || options.heldOutFraction > 0);
  const path = (part: Part): string => join(options.directory, `${id}.${part}${ending}`);
  const missing = wanted.filter((part) => !existsSync(path(part)));
  const written = await write(documents, tokenizer, survey, options, missing, path);
  const paths = wanted.map(path);
  paths.forEach(markUsed);
  if (missing.length > 0) keepNewest(options.directory, ending, options.mostBytes ?? usualBytes, paths);
  const sets = new Map(wanted.map((part) => [part, written.get(part) ?? openTokenFile(path(part))]));
  const close = (): void => sets.forEach((set) => set.close());
  for (const [part, set] of sets) {
    if (set.windows > 0) continue;
    const error = empty(part, set);
    close();
    // Kept, they would be found again, whatever splits the documents by then.
    for (const path of paths) rmSync(path, { force: true });
    throw error;
  }
  const areChats = survey.chats === survey.documents;
  return { id, areChats, train: sets.get('train') ?? null, heldOut: sets.get('heldOut') ?? null, close };
}

const ending = '.tokens';
const usualBytes = 8 * 2 ** 30;

interface Survey {
  readonly documents: number;
  readonly chats: number;
  /** Documents whose score is at most this are held out, but never those with the highest score; −1 for none. */
  readonly threshold: number;
  readonly highest: number;
  readonly digest: string;
}

async function surveyDocuments(documents: Iterable<Document>, options: PackingOptions): Promise<Survey> {
  const { heldOutFraction, seed } = options;
  const digest = createHash('sha256');
  let count = 0;
  let chats = 0;
  let [lowest, highest] = [Infinity, -Infinity];
  for (const document of documents) {
    const hash = contentHash(document);
    digest.update(hash);
    const own = score(hash, seed);
    [lowest, highest] = [Math.min(lowest, own), Math.max(highest, own)];
    count += 1;
    if (document.kind === 'chat') chats += 1;
    if (count % 64 === 0) await pause(options);
  }
  // The lowest is held out even if its score alone would not suffice.
  const threshold = heldOutFraction > 0 && count > 1 ? Math.max(heldOutFraction, lowest) : -1;
  return { documents: count, chats, threshold, highest, digest: digest.digest('hex') };
}

async function write(
  documents: Iterable<Document>,
  tokenizer: Tokenizer,
  survey: Survey,
  options: PackingOptions,
  parts: readonly Part[],
  path: (part: Part) => string,
): Promise<Map<Part, TokenSet>> {
  if (parts.length === 0) return new Map();
  const padding = separatorOf(tokenizer, options) ?? 0;
  const writers = new Map<Part, TokenWriter>();
  const finished = new Map<Part, TokenSet>();
  try {
    for (const part of parts) writers.set(part, createTokenFile(path(part), options.windowLength, padding));
    let done = 0;
    for (const document of documents) {
      for (const [part, piece] of assign(document, survey, options)) {
        const writer = writers.get(part);
        if (writer !== undefined) await appendDocument(writer, piece, tokenizer, options);
      }
      done += 1;
      options.onProgress?.(done, survey.documents);
      await pause(options);
    }
    for (const [part, writer] of writers) finished.set(part, writer.finish());
    return finished;
  } catch (error) {
    writers.forEach((writer) => writer.abandon());
    finished.forEach((set) => set.close());
    throw error;
  }
}

function assign(document: Document, survey: Survey, options: PackingOptions): [Part, Document][] {
  if (survey.documents === 1 && options.heldOutFraction > 0) return cut(document, options.heldOutFraction);
  const own = score(contentHash(document), options.seed);
  const isHeldOut = own <= survey.threshold && own < survey.highest;
  return [[isHeldOut ? 'heldOut' : 'train', document]];
}

/** Holds out the end of a single text, cut between lines if it has any. */
function cut(document: Document, fraction: number): [Part, Document][] {
  if (document.kind === 'chat')
    throw userError(
      'bad-data',
      `${document.name} is the only conversation, so none can be held out.`,
      'Give at least two.',
    );
  const { text } = document;
  const wished = Math.floor(text.length * (1 - fraction));
  const line = text.lastIndexOf('\n', wished) + 1;
  const place = line > 0 ? line : wished;
  return [
    ['train', { ...document, text: text.slice(0, place) }],
    ['heldOut', { ...document, text: text.slice(place) }],
  ];
}

async function appendDocument(
  writer: TokenWriter,
  document: Document,
  tokenizer: Tokenizer,
  options: PackingOptions,
): Promise<void> {
  if (document.kind === 'chat') {
    const { ids, isAssistant } = await encodeNamed(tokenizer, document, options.signal);
    requireRows(document.name, ids, tokenizer, options);
    writer.append(ids, { isTarget: isAssistant, together: true });
    return;
  }
  const ids = encodeText(document, tokenizer, options);
  const { bosId } = tokenizer;
  const separatorId = separatorOf(tokenizer, options);
  if (separatorId !== null && ids.at(-1) !== separatorId) ids.push(separatorId);
  // The beginning of a text is not predicted from the text before it.
  const opensWithBos = bosId !== null && bosId !== separatorId && ids[0] === bosId;
  writer.append(ids, opensWithBos ? { isTarget: ids.map((_, i) => i > 0) } : {});
}

/** Markers in a text are tokens, unless the model has no row for one of them: then they are plain text, as in a prompt. */
function encodeText(
  { name, text }: Extract<Document, { kind: 'text' }>,
  tokenizer: Tokenizer,
  options: PackingOptions,
): number[] {
  const ids = tokenizer.encode(text);
  if (withoutRow(ids, options) === null) return ids;
  const start = tokenizer.startId === null ? [] : [tokenizer.startId];
  const plain = [...start, ...tokenizer.encodePlain(text)];
  requireRows(name, plain, tokenizer, options);
  return plain;
}

/** @throws UserError `bad-data` for a token that the model cannot read. */
function requireRows(name: string, ids: readonly number[], tokenizer: Tokenizer, options: PackingOptions): void {
  const id = withoutRow(ids, options);
  if (id === null) return;
  throw userError(
    'bad-data',
    `${name} has the token ${tokenizer.tokenText(id)}, which the model cannot read: its vocabulary ends before it.`,
    'Take it out of the text, or leave the file out.',
  );
}

/** The first token for which the model has no row; null if it has one for each. */
const withoutRow = (ids: readonly number[], { vocabulary = Infinity }: PackingOptions): number | null =>
  ids.find((id) => id >= vocabulary) ?? null;

/** The token between documents, if there is one that the model can read. */
const separatorOf = ({ separatorId }: Tokenizer, { vocabulary = Infinity }: PackingOptions): number | null =>
  separatorId !== null && separatorId < vocabulary ? separatorId : null;

async function encodeNamed(
  tokenizer: Tokenizer,
  { name, messages }: Extract<Document, { kind: 'chat' }>,
  signal?: AbortSignal,
): Promise<EncodedChat> {
  try {
    return await encodeChat(tokenizer, messages, signal);
  } catch (error) {
    if (!(error instanceof UserError) || error.code !== 'bad-data') throw error;
    throw userError('bad-data', `${name}: ${error.message}`, error.wayOut ?? undefined, error);
  }
}

/** By content alone, so that moving or renaming a file changes nothing. */
function contentHash(document: Document): Buffer {
  const content = document.kind === 'text' ? document.text : JSON.stringify(document.messages);
  return createHash('sha256').update(`${document.kind}\0`).update(content).digest();
}

/** In [0, 1), as good as uniform. */
const score = (hash: Buffer, seed: number): number =>
  createHash('sha256').update(`${seed}\0`).update(hash).digest().readUIntBE(0, 6) / 2 ** 48;

function identify(
  survey: Survey,
  tokenizer: Tokenizer,
  { windowLength, heldOutFraction, seed, vocabulary = Infinity }: PackingOptions,
): string {
  const parts = [survey.digest, tokenizer.fingerprint(), windowLength, heldOutFraction, seed];
  // It decides about ids only if some token has no row.
  if (vocabulary < tokenizer.vocabularySize) parts.push(vocabulary);
  return createHash('sha256').update(JSON.stringify(parts)).digest('hex').slice(0, 32);
}

/** Lets messages be handled, and stops if the signal is aborted. */
async function pause({ signal }: PackingOptions): Promise<void> {
  await setImmediate();
  if (signal?.aborted) throw userError('cancelled', 'Stopped while reading the data.');
}

const empty = (part: Part, set: TokenSet): Error =>
  userError(
    'bad-data',
    part === 'train'
      ? `The training data has nothing to learn from: ${plural(set.documents, 'document')} with ${plural(set.tokens, 'token')}.`
      : `The held-out data has nothing to evaluate: ${plural(set.documents, 'document')} with ${plural(set.tokens, 'token')}.`,
    'Give more text; of conversations, ones in which the assistant answers.',
  );
