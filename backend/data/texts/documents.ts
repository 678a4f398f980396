/** Training documents from files: texts, and JSON lines of texts or conversations. Read one at a time, in a fixed order. */
import { closeSync, existsSync, readdirSync, readSync, realpathSync, statSync, type Dirent } from 'node:fs';
import { dirname, isAbsolute, join, relative, resolve, sep } from 'node:path';
import { escapePath, globSync } from 'tinyglobby';
import { userError } from '../../../protocol/errors.ts';
import { fileError, openRegular, statOf } from '../../system/files.ts';
import { globSlashes, slashes, splitGlob } from '../../system/globs.ts';
import { isWritten } from '../../formats/our-folders.ts';
import type { Message } from '../prompts/chat.ts';

export type Document =
  | { readonly kind: 'text'; readonly name: string; readonly text: string }
  | { readonly kind: 'chat'; readonly name: string; readonly messages: readonly Message[] };

/** Can be gone through several times; each time the files are read anew, one document in memory. */
export interface Documents extends Iterable<Document> {
  /** Paths in the order they are read. */
  readonly files: readonly string[];
}

export interface DocumentOptions {
  /** The folder to which relative patterns refer; default: the working directory. */
  readonly directory?: string;
  /**
   * Called each time the documents are read, with a sentence for each file that is left out, and for each folder that cannot be read or
   * that early-exit wrote.
   */
  readonly onSkip?: (file: string, reason: string) => void;
}

/**
 * Documents of files, folders and globs (`!` before a glob excludes). Folders of packages, builds and version control are skipped unless a
 * pattern names them, and so is what early-exit itself wrote; binary files always are. Throws `not-found` if a pattern matches nothing;
 * while reading, `bad-data` for JSON lines that are no document, and if no document is left.
 */
export function readDocuments(patterns: readonly string[], options: DocumentOptions = {}): Documents {
  const directory = resolve(options.directory ?? '.');
  const excluded = patterns.filter((pattern) => pattern.startsWith('!')).map((pattern) => pattern.slice(1));
  const included = patterns.filter((pattern) => !pattern.startsWith('!'));
  if (included.length === 0) throw userError('bad-argument', 'There is no data.', 'Name files, folders or globs.');
  const leftOut = new Map<string, string>();
  const links = new Map<string, string>();
  const found = included.flatMap((pattern) => match(pattern, directory, excluded, leftOut, links));
  const files = eachOnce([...new Set(found)].sort(byCodeUnits), links);
  const onSkip = options.onSkip ?? (() => undefined);
  return {
    files,
    *[Symbol.iterator]() {
      for (const [folder, reason] of leftOut) onSkip(folder, reason);
      yield* documentsOf(files, directory, onSkip);
    },
  };
}

/** The same patterns, independent of the working directory; exclusions that apply anywhere stay as they are. */
export function absolutePatterns(patterns: readonly string[], directory = resolve('.')): string[] {
  return patterns.map((pattern) => {
    const [mark, rest] = pattern.startsWith('!') ? ['!', pattern.slice(1)] : ['', pattern];
    if (isAbsolute(rest) || (mark === '!' && globSlashes(rest).startsWith('**/'))) return pattern;
    const path = resolve(directory, rest);
    return mark + (existsSync(path) ? path : absoluteGlob(rest, directory));
  });
}

// Longer texts become several documents, cut between lines, so that one enormous file is never in memory at once.
const maxTextBytes = 2 ** 22;
// A line of JSON is parsed in one piece.
const maxLineBytes = 2 ** 26;
const chunkBytes = 2 ** 20;

const skippedFolders = [
  'node_modules',
  '.git',
  '.hg',
  '.svn',
  'dist',
  'build',
  'out',
  'coverage',
  'target',
  '.cache',
  '.venv',
  'venv',
  '__pycache__',
];
const skippedFiles = ['**/*.min.js', '**/*.map', '**/package-lock.json', '**/yarn.lock', '**/pnpm-lock.yaml'];

const byCodeUnits = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

/**
 * Folders that cannot be read or were written go into `leftOut`, with the reason, and what links to files lead to into `links`: they count as
 * files.
 */
function match(
  pattern: string,
  directory: string,
  excluded: readonly string[],
  leftOut: Map<string, string>,
  links: Map<string, string>,
): string[] {
  const path = resolve(directory, pattern);
  const stat = statOf(path);
  if (stat?.isFile()) return isExcluded(path, excluded, directory) ? [] : [path];
  const [root, glob] = stat?.isDirectory() ? [path, '**/*'] : fromItsFolder(globSlashes(pattern), directory);
  // Exclusions are relative to the user's folder, also below another folder that is named.
  const exclusions = excluded.map((each) => absoluteGlob(each, directory));
  const cwd = topmost(root, exclusions);
  const below = cwd === root ? '' : `${escapePath(slashes(relative(cwd, root)))}/`;
  const named = new Set(glob.split('/'));
  const skipped = [
    ...skippedFolders.filter((folder) => !named.has(folder)).map((folder) => `**/${folder}/**`),
    ...skippedFiles.filter((file) => !slashes(pattern).endsWith(file.slice(4))),
    ...anywhere(excluded),
  ];
  const denied = new Map<string, unknown>();
  const onLink = (link: string, file: string | null): void => {
    if (file === null) leftOut.set(link, 'it is a link to no file');
    else links.set(resolve(link), file);
  };
  const found = globSync(`${below}${glob}`, {
    cwd,
    absolute: true,
    ignore: [...skipped.map((each) => `${below}${each}`), ...withAllBelow(exclusions)],
    followSymbolicLinks: false,
    expandDirectories: false,
    fs: { readdirSync: listing(onLink, (folder, error) => void denied.set(resolve(folder), error)) },
  });
  for (const [folder, error] of denied) {
    if (found.length === 0) throw fileError(error, 'read', folder);
    leftOut.set(folder, 'it cannot be read');
  }
  if (found.length === 0)
    throw userError('not-found', `No file matches ${pattern} in ${directory}.`, 'Check the path or the glob.');
  const onWritten = (folder: string): void => void leftOut.set(folder, 'early-exit wrote it');
  const kept = found.map((file) => resolve(file)).filter(isBelowNothingWritten(root, onWritten));
  if (kept.length === 0)
    throw userError(
      'not-found',
      `All that matches ${pattern} in ${directory} was written by early-exit.`,
      'Name files one by one to take them all the same.',
    );
  return kept;
}

/** Whether an exclusion names a file that is named itself: where a shell expands a glob, all that it finds is. */
function isExcluded(file: string, excluded: readonly string[], directory: string): boolean {
  if (excluded.length === 0) return false;
  const exclusions = excluded.map((each) => absoluteGlob(each, directory));
  const cwd = topmost(commonFolder(file, directory), exclusions);
  const ignore = [...anywhere(excluded), ...withAllBelow(exclusions)];
  const glob = escapePath(slashes(relative(cwd, file)));
  return globSync(glob, { cwd, ignore, dot: true, expandDirectories: false }).length === 0;
}

const anywhere = (excluded: readonly string[]): string[] =>
  excluded.map(globSlashes).filter((each) => each.startsWith('**/'));
const withAllBelow = (globs: readonly string[]): string[] => globs.flatMap((each) => [each, `${each}/**`]);

/** A pattern without `!` as a glob that is independent of the folder. What exists under exactly this name is no glob. */
function absoluteGlob(pattern: string, directory: string): string {
  const path = resolve(directory, pattern);
  if (existsSync(path)) return escapePath(slashes(path));
  return isAbsolute(pattern) ? globSlashes(pattern) : `${escapePath(slashes(directory))}/${slashes(pattern)}`;
}

/** The topmost of a folder and those above it where an exclusion begins: from there no exclusion needs `..`, which matches nothing. */
function topmost(root: string, exclusions: readonly string[]): string {
  const above = exclusions.map((glob) => fromItsFolder(glob, root)[0]).filter((folder) => isWithin(root, folder));
  return above.reduce((top, folder) => (folder.length < top.length ? folder : top), root);
}

function isWithin(path: string, folder: string): boolean {
  const way = relative(folder, path);
  return way.split(sep)[0] !== '..' && !isAbsolute(way);
}

/** The deepest folder that has both below it, or the file's topmost one if there is none. */
function commonFolder(file: string, directory: string): string {
  let folder = dirname(file);
  while (!isWithin(directory, folder) && dirname(folder) !== folder) folder = dirname(folder);
  return folder;
}

/** The folder before the first wildcard of a glob, and the glob from there. */
function fromItsFolder(glob: string, directory: string): [root: string, glob: string] {
  const [folder, rest] = splitGlob(glob);
  return [resolve(directory, folder), rest];
}

/** Without links to files that are there under their own name or by an earlier link. */
function eachOnce(files: readonly string[], links: ReadonlyMap<string, string>): readonly string[] {
  if (links.size === 0) return files;
  const seen = new Set(files.filter((file) => !links.has(file)).map((file) => realpathSync(file)));
  return files.filter((file) => {
    const target = links.get(file);
    if (target === undefined) return true;
    const isNew = !seen.has(target);
    seen.add(target);
    return isNew;
  });
}

/**
 * `readdirSync` with the reason of a failure, which a glob would ignore. Links to files count as files; those to folders are not followed,
 * since they may lead in a circle.
 */
function listing(
  onLink: (link: string, file: string | null) => void,
  onError: (folder: string, error: unknown) => void,
): typeof readdirSync {
  const list = (folder: string): Dirent[] => {
    try {
      return readdirSync(folder, { withFileTypes: true }).map((entry) => {
        if (!entry.isSymbolicLink()) return entry;
        const link = join(folder, entry.name);
        const file = linkedFile(link);
        onLink(link, file);
        return file === null ? entry : asFile(entry);
      });
    } catch (error) {
      onError(folder, error);
      throw error;
    }
  };
  return list as unknown as typeof readdirSync;
}

/** The file to which a link leads; null if it leads to a folder, to nothing, or in a circle. */
function linkedFile(link: string): string | null {
  try {
    const file = realpathSync(link);
    return statSync(file).isFile() ? file : null;
  } catch {
    return null;
  }
}

const asFile = (entry: Dirent): Dirent =>
  Object.create(entry, {
    name: { value: entry.name },
    isFile: { value: () => true },
    isSymbolicLink: { value: () => false },
  }) as Dirent;

/**
 * Whether a file is below no folder that early-exit wrote: cards of exits and models are no text to learn from, and would change the text
 * when a run is resumed. A folder that the user names is always read.
 */
function isBelowNothingWritten(root: string, onWritten: (topmost: string) => void): (file: string) => boolean {
  const known = new Map<string, boolean>([[root, false]]);
  const isOurs = (folder: string): boolean => {
    const before = known.get(folder);
    if (before !== undefined) return before;
    const isBelow = dirname(folder) !== folder && isOurs(dirname(folder));
    const isTopmost = !isBelow && isWritten(folder);
    if (isTopmost) onWritten(folder);
    known.set(folder, isBelow || isTopmost);
    return isBelow || isTopmost;
  };
  return (file) => !isOurs(dirname(file));
}

type OnSkip = (file: string, reason: string) => void;

function* documentsOf(files: readonly string[], directory: string, onSkip: OnSkip): Generator<Document, void> {
  let documents = 0;
  let skipped = 0;
  for (const file of files) {
    const name = slashes(relative(directory, file));
    const source = /\.(jsonl|ndjson)$/i.test(file) ? linesOf(file, name) : textsOf(file, name);
    for (const item of source) {
      if (item.kind === 'skip') {
        skipped += 1;
        onSkip(file, item.reason);
      } else {
        documents += 1;
        yield item;
      }
    }
  }
  if (documents === 0)
    throw userError(
      'bad-data',
      files.length === 1
        ? `${files[0]} holds no text.`
        : `None of the ${files.length} files holds text (${skipped} are binary or empty; the first is ${files[0]}).`,
      'Name text files, or JSON lines with "text" or "messages".',
    );
}

type Item = Document | { readonly kind: 'skip'; readonly reason: string };

/**
 * A text file as one document, or as several if it is very long. All of it is looked at first: nothing is taken of a file that turns
 * binary late.
 */
function* textsOf(file: string, name: string): Generator<Item, void> {
  const reason = whyNoText(file);
  if (reason !== null) {
    yield { kind: 'skip', reason };
    return;
  }
  const decoder = new TextDecoder('utf-8');
  let text = '';
  let part = 0;
  const document = (content: string): Document => {
    part += 1;
    return { kind: 'text', name: part === 1 ? name : `${name}#${part}`, text: content };
  };
  for (const chunk of chunksOf(file)) {
    text += decoder.decode(chunk, { stream: true });
    if (text.length < maxTextBytes) continue;
    const cut = text.lastIndexOf('\n') + 1 || text.length;
    yield document(text.slice(0, cut));
    text = text.slice(cut);
  }
  text += decoder.decode();
  if (text.trim() !== '') yield document(text);
  else if (part === 0) yield { kind: 'skip', reason: 'it is empty' };
}

function whyNoText(file: string): string | null {
  const decoder = new TextDecoder('utf-8', { fatal: true });
  try {
    for (const chunk of chunksOf(file)) {
      // Git calls such a file binary, too.
      if (chunk.includes(0)) return 'it is binary';
      decoder.decode(chunk, { stream: true });
    }
    decoder.decode();
    return null;
  } catch (error) {
    // What the decoder throws for bytes that are no UTF-8.
    if (!(error instanceof TypeError)) throw error;
    return 'it is not UTF-8 text';
  }
}

function* linesOf(file: string, name: string): Generator<Item, void> {
  let line = 0;
  let pieces: Uint8Array[] = [];
  let length = 0;
  let documents = 0;
  const take = (last: Uint8Array): Document | null => {
    line += 1;
    const bytes = Buffer.concat([...pieces, last]);
    pieces = [];
    length = 0;
    return documentOfLine(bytes, file, name, line);
  };
  const extend = (rest: Uint8Array): void => {
    length += rest.length;
    if (length > maxLineBytes) throw badLine(file, line + 1, `is longer than ${maxLineBytes} bytes`);
    pieces.push(rest.slice());
  };
  for (const chunk of chunksOf(file)) {
    let start = 0;
    for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, start)) {
      const document = take(chunk.subarray(start, end));
      start = end + 1;
      if (document !== null) {
        documents += 1;
        yield document;
      }
    }
    extend(chunk.subarray(start));
  }
  const document = take(new Uint8Array(0));
  if (document !== null) yield document;
  else if (documents === 0) yield { kind: 'skip', reason: 'it is empty' };
}

function documentOfLine(bytes: Uint8Array, file: string, name: string, line: number): Document | null {
  let record: unknown;
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
    if (text.trim() === '') return null;
    record = JSON.parse(text);
  } catch {
    throw badLine(file, line, 'is not JSON');
  }
  if (typeof record !== 'object' || record === null) throw badLine(file, line, 'is not a JSON object');
  const { text, messages } = record as { text?: unknown; messages?: unknown };
  const id = `${name}:${line}`;
  if (typeof text === 'string') return text.trim() === '' ? null : { kind: 'text', name: id, text };
  if (messages === undefined) throw badLine(file, line, 'has neither "text" nor "messages"');
  if (!Array.isArray(messages) || messages.length === 0 || !messages.every(isMessage))
    throw badLine(file, line, 'has messages without a text "role" and "content"');
  return { kind: 'chat', name: id, messages };
}

const isMessage = (value: unknown): value is Message =>
  typeof value === 'object' &&
  value !== null &&
  'role' in value &&
  typeof value.role === 'string' &&
  'content' in value &&
  typeof value.content === 'string';

const badLine = (file: string, line: number, what: string): Error =>
  userError('bad-data', `Line ${line} of ${file} ${what}.`, 'Write one JSON object a line, with "text" or "messages".');

/** The bytes of a file in pieces, in one buffer that is used again. */
function* chunksOf(file: string): Generator<Uint8Array, void> {
  let descriptor: number | null = null;
  try {
    descriptor = openRegular(file);
    const buffer = new Uint8Array(chunkBytes);
    for (let count = readSync(descriptor, buffer); count > 0; count = readSync(descriptor, buffer))
      yield buffer.subarray(0, count);
  } catch (error) {
    throw fileError(error, 'read', file);
  } finally {
    if (descriptor !== null) closeSync(descriptor);
  }
}
