/**
 * The folder of a checkpoint and its lock: one process at a time may write to it, from the moment it is created. Only what a run of this
 * program began there and could not finish is ever removed.
 */
import * as fs from 'node:fs';
import * as path from 'node:path';
import { userError } from '../../protocol/errors.ts';
import { fileError, makeFolder } from '../system/files.ts';
import { lockOrRefuse, type Lock } from '../system/lock.ts';
import { cardFile, memoryFile, parametersFile } from '../formats/our-folders.ts';
import { isCheckpoint, jobFile, jobFolder, metricsFile, stateFolder } from './checkpoint.ts';

const lockFile = '.lock';

/** @throws UserError `busy` if another process writes there, `file-system` if it cannot be written. */
export function lockCheckpoint(directory: string): Lock {
  const file = path.join(directory, lockFile);
  return lockOrRefuse(file, (pid) =>
    userError(
      'busy',
      `Another process (${pid}) is tuning into ${directory}.`,
      `Wait until it is done, or stop it. If it is no run of ours, remove ${file}.`,
    ),
  );
}

/** A folder that is ours alone, with nothing in it. */
export interface ReservedFolder {
  readonly lock: Lock;
  /** Releases the folder. Unless it has a checkpoint by now, what was begun there is removed, and the folder if it was made for this. */
  abandon(): void;
}

/**
 * Makes the folder of a new checkpoint and locks it before any work is done, so that none can be lost for want of a folder.
 * @throws UserError if it exists and is not empty, if another process writes to it, or if it cannot be made.
 */
export function reserveFolder(directory: string): ReservedFolder {
  requireFree(directory, true);
  const isNew = !fs.existsSync(directory);
  try {
    makeFolder(directory);
  } catch (error) {
    throw fileError(error, 'write', directory);
  }
  let lock: Lock | null = null;
  const giveBack = (): void => {
    lock?.release();
    lock = null;
    if (isNew) removeEmpty(directory);
  };
  try {
    lock = lockCheckpoint(directory);
    requireFree(directory, lock.inherited);
    removeBeginning(directory);
  } catch (error) {
    giveBack();
    throw error;
  }
  const abandon = (): void => {
    if (lock === null || isCheckpoint(directory)) return;
    // The folder may have been removed by others: that is not the reason why the run ended.
    if (fs.existsSync(directory)) removeBeginning(directory);
    giveBack();
  };
  return { lock, abandon };
}

/** Whether a name is one of the files that a run leaves if it is killed before its first checkpoint. */
const isOfBeginning = (name: string): boolean =>
  [parametersFile, memoryFile, metricsFile, cardFile, stateFolder, jobFolder].includes(name) ||
  /^\..*\.tmp$/.test(name);
const isOfLock = (name: string): boolean => name.startsWith(lockFile);

/** `begun`: whether a run of ours may have begun there. */
function requireFree(directory: string, begun: boolean): void {
  let names: string[];
  try {
    names = fs.readdirSync(directory);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw fileError(error, 'write', directory);
  }
  // A job of PyTorch that failed has left its folder, perhaps with half a checkpoint, and no lock.
  const isJob = fs.existsSync(path.join(directory, jobFolder, jobFile));
  const isBegun = isJob || (begun && names.includes(lockFile));
  const isOurs = (name: string): boolean => isOfLock(name) || (isBegun && isOfBeginning(name));
  const others = names.filter((name) => !isOurs(name));
  if (isCheckpoint(directory))
    throw userError(
      'file-system',
      `${directory} already holds tuned exits.`,
      'Go on with them (--resume), or name another folder (--out).',
    );
  if (others.length > 0) throw userError('file-system', `${directory} is not empty.`, 'Name another folder (--out).');
}

function removeBeginning(directory: string): void {
  for (const name of fs.readdirSync(directory))
    if (!isOfLock(name) && isOfBeginning(name)) fs.rmSync(path.join(directory, name), { recursive: true, force: true });
}

/** Removes the folder; if others have put something into it meanwhile, it stays. */
function removeEmpty(directory: string): void {
  try {
    fs.rmdirSync(directory);
  } catch {
    return;
  }
}
