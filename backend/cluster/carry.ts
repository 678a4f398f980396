/**
 * Carries the files of a run if a Ray cluster does not see its folder: files go up as packages of the job, and saved files come back,
 * checked by hash. The other side is `distributed/early_exit_distributed/carried.py`.
 */
import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import path from 'node:path';
import { bytesText } from '../../protocol/bytes-text.ts';
import { UserError, userError } from '../../protocol/errors.ts';
import { bestFile } from '../checkpoint/continued.ts';
import {
  infoFile,
  jobFolder,
  metricsFile,
  parametersFile,
  positionFile,
  stateFolder,
} from '../checkpoint/checkpoint.ts';
import { fileError, makeFolder, openForWriting, writeWhole } from '../formats/files.ts';
import { zip, type ZipEntry } from '../formats/zip.ts';
import { packageName } from './job.ts';
import { isAbsent, readSessionFile, sendRayPackage, type SessionFile } from './ray.ts';

/** Bytes: the head of a cluster keeps packages in memory while a job names them. */
export const largestUpload = 2 ** 30;
/** Ray takes 100 MB a request. */
const pieceBytes = 2 ** 26;

/** The Python package alone. */
export function sendSources(url: string, sources: string): Promise<string> {
  const names = fs.readdirSync(sources).filter((name) => name.endsWith('.py'));
  const entries = names.map((name) => ({
    name: `${packageName}/${name}`,
    content: { file: path.join(sources, name) },
  }));
  return sendRayPackage(url, Buffer.concat([...zip(entries)]));
}

/** The files of a run's folder that its ranks read: the job itself and, if the run is resumed, its earlier state. */
export function runEntries(directory: string, resumes: boolean): ZipEntry[] {
  const job = fs.readdirSync(path.join(directory, jobFolder), { withFileTypes: true });
  const names = [
    ...job.filter((each) => each.isFile()).map(({ name }) => `${jobFolder}/${name}`),
    ...(resumes ? [infoFile, parametersFile, metricsFile] : []),
    ...(resumes ? fs.readdirSync(path.join(directory, stateFolder)).map((name) => `${stateFolder}/${name}`) : []),
  ];
  return names
    .filter((name) => !path.basename(name).startsWith('.'))
    .map((name) => ({ name, content: { file: path.join(directory, name) } }));
}

/** @throws UserError if files are more than goes up. */
export function requireSmall(entries: readonly ZipEntry[], what: string, wayOut: string): void {
  const bytes = entries.reduce((sum, { content }) => sum + sizeOf(content), 0);
  if (bytes > largestUpload)
    throw userError(
      'unsupported',
      `${what} of ${bytesText(bytes)} cannot go up with a Ray job, which takes ${bytesText(largestUpload)}.`,
      wayOut,
    );
}

const sizeOf = (content: ZipEntry['content']): number =>
  'file' in content ? fs.statSync(content.file).size : content.bytes.length;

/** Sends files as an archive in pieces, a package each; answers the packages' names. */
export async function sendFiles(url: string, entries: readonly ZipEntry[], signal: AbortSignal): Promise<string[]> {
  const hash = createHash('sha256');
  const sent: string[] = [];
  const pieces: string[] = [];
  const send = async (name: string, bytes: Uint8Array): Promise<void> => {
    signal.throwIfAborted();
    sent.push(await sendRayPackage(url, Buffer.concat([...zip([{ name, content: { bytes } }])])));
  };
  for (const piece of inPieces(zip(entries))) {
    hash.update(piece);
    // Named by the hash of its contents, so that no piece of another run can be taken for it.
    pieces.push(`early-exit-${createHash('sha256').update(piece).digest('hex')}`);
    await send(pieces.at(-1)!, piece);
  }
  await send('carried.json', Buffer.from(JSON.stringify({ pieces, sha256: hash.digest('hex') })));
  return sent;
}

function* inPieces(chunks: Iterable<Buffer>): Generator<Buffer> {
  let [piece, bytes]: [Buffer[], number] = [[], 0];
  for (const chunk of chunks) {
    piece.push(chunk);
    bytes += chunk.length;
    if (bytes < pieceBytes) continue;
    yield Buffer.concat(piece);
    [piece, bytes] = [[], 0];
  }
  if (bytes > 0) yield Buffer.concat(piece);
}

interface Listed {
  readonly bytes: number;
  readonly sha256: string;
}

/** As the ranks name them; nothing else is written here. */
const stateFile = /^state\/step-\d{1,15}-[0-9a-f]{1,16}\.safetensors$/;
const bestName = `${stateFolder}/${bestFile}`;
const isResult = (name: string): boolean =>
  [infoFile, parametersFile, metricsFile, bestName, `${stateFolder}/${positionFile}`].includes(name) ||
  stateFile.test(name);
/**
 * The order in which files are replaced, so that the folder is a checkpoint at every moment: a state before the file that names it, and
 * last the file that makes a folder a checkpoint.
 */
const order = ['state/step-', bestName, `${stateFolder}/${positionFile}`, metricsFile, parametersFile, infoFile];
const placeInOrder = (name: string): number => order.findIndex((begin) => name.startsWith(begin));
/** Files may be replaced while they are copied: a file that changed is copied again. */
const attempts = 5;

/**
 * Copies what a run has saved into its folder here. All files are copied and checked before the first one replaces an older version.
 * `have`: the hashes of files that were copied before, by name. False if nothing is saved there.
 * @throws UserError if the cluster does not answer, or sends something else than it lists; `file-system`.
 */
export async function copyResults(
  folder: SessionFile,
  directory: string,
  have: Map<string, string>,
  signal?: AbortSignal,
): Promise<boolean> {
  const at = (name: string): SessionFile => ({ ...folder, name: `${folder.name}/${name}` });
  for (let attempt = 1; ; attempt++) {
    const listed = await readList(at(`${jobFolder}/results.json`), signal);
    if (listed === null) return false;
    const wanted = [...listed].filter(([name, { sha256 }]) => have.get(name) !== sha256);
    const copied: string[] = [];
    try {
      let isWhole = true;
      for (const [name, file] of wanted) {
        const temporary = temporaryName(directory, name);
        copied.push(temporary);
        isWhole &&= await copyFile(at(name), temporary, file, signal);
      }
      if (isWhole) {
        putInPlace(directory, wanted, have);
        return true;
      }
    } finally {
      for (const temporary of copied) fs.rmSync(temporary, { force: true });
    }
    if (attempt === attempts)
      throw userError(
        'network',
        `What the Ray cluster at ${folder.url} sent of the run is not what it says by its hashes.`,
        'Try again with --resume.',
      );
  }
}

const temporaryName = (directory: string, name: string): string =>
  path.join(directory, path.dirname(name), `.${path.basename(name)}.${process.pid}.tmp`);

function putInPlace(directory: string, files: readonly (readonly [string, Listed])[], have: Map<string, string>): void {
  try {
    for (const [name, { sha256 }] of [...files].sort(([a], [b]) => placeInOrder(a) - placeInOrder(b))) {
      fs.renameSync(temporaryName(directory, name), path.join(directory, name));
      have.set(name, sha256);
    }
    const states = files.map(([name]) => name).filter((name) => stateFile.test(name));
    if (states.length === 0) return;
    for (const name of fs.readdirSync(path.join(directory, stateFolder)))
      if (stateFile.test(`${stateFolder}/${name}`) && !states.includes(`${stateFolder}/${name}`))
        fs.rmSync(path.join(directory, stateFolder, name), { force: true });
  } catch (error) {
    throw fileError(error, 'write', directory);
  }
}

/** Null if nothing is saved yet. */
async function readList(file: SessionFile, signal?: AbortSignal): Promise<Map<string, Listed> | null> {
  const text = await readSmallFile(file, signal);
  if (text === null) return null;
  try {
    const { files } = JSON.parse(text) as { files: Record<string, Listed> };
    const isListed = ([name, { bytes, sha256 }]: [string, Listed]): boolean =>
      isResult(name) && Number.isSafeInteger(bytes) && bytes >= 0 && /^[0-9a-f]{64}$/.test(sha256);
    return new Map(Object.entries(files).filter(isListed));
  } catch (cause) {
    throw userError(
      'network',
      `What ${file.url} says of the run's files cannot be read.`,
      'Try again with --resume.',
      cause,
    );
  }
}

const largestList = 2 ** 20;

async function readSmallFile(file: SessionFile, signal?: AbortSignal): Promise<string | null> {
  const pieces: Buffer[] = [];
  let bytes = 0;
  try {
    for await (const piece of readSessionFile(file, false, signal)) {
      pieces.push(piece);
      bytes += piece.length;
      if (bytes > largestList) break;
    }
    return Buffer.concat(pieces).toString();
  } catch (error) {
    if (isAbsent(error)) return null;
    throw error;
  }
}

/** Its first bytes, as many as are listed, since a file of lines only grows; false if their hash differs. */
async function copyFile(
  file: SessionFile,
  to: string,
  { bytes, sha256 }: Listed,
  signal?: AbortSignal,
): Promise<boolean> {
  const hash = createHash('sha256');
  let left = bytes;
  let descriptor: number | null = null;
  try {
    makeFolder(path.dirname(to));
    descriptor = openForWriting(to, 'w');
    for await (const piece of readSessionFile(file, false, signal)) {
      const part = piece.subarray(0, left);
      writeWhole(descriptor, part);
      hash.update(part);
      left -= part.length;
      if (left === 0) break;
    }
    fs.fsyncSync(descriptor);
    return left === 0 && hash.digest('hex') === sha256;
  } catch (error) {
    if (isAbsent(error)) return false;
    throw error instanceof UserError || signal?.aborted ? error : fileError(error, 'write', to);
  } finally {
    if (descriptor !== null) fs.closeSync(descriptor);
  }
}
