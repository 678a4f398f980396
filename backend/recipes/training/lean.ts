/** A run that is finished and calibrated drops the state of its optimiser, unless `--keep-state` was given. */
import { bytesText } from '../../../protocol/bytes-text.ts';
import { UserError, userError } from '../../../protocol/errors.ts';
import type { NoteEvent } from '../../../protocol/events.ts';
import { isCheckpoint, openCheckpoint, type Checkpoint } from '../../checkpoint/checkpoint.ts';
import { dropState, hasState, readPosition } from '../../checkpoint/state.ts';
import { isContinued } from './continued.ts';

/** Drops the optimiser's state of exits that are done, and reports it. A failure here only costs disk space. */
export function* keepLean(directory: string, keepState: boolean): Generator<NoteEvent, void> {
  try {
    const exits = openCheckpoint(directory, null);
    exits.close();
    if (keepState || !isDone(exits)) return;
    const bytes = dropState(directory);
    if (bytes === 0) return;
    yield {
      type: 'note',
      message: `The optimiser's state (${bytesText(bytes)}) was deleted, since the run is finished and calibrated: --resume still continues from these exits, with new moments. --keep-state keeps the state.`,
    };
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
  }
}

/** @throws UserError if a run cannot continue in PyTorch, which needs the optimiser's state. */
export function requireState(directory: string): void {
  if (!isCheckpoint(directory) || hasState(directory)) return;
  throw userError(
    'unsupported',
    `PyTorch resumes a run only with its optimiser's state; that of ${directory} was deleted when the run was finished and calibrated.`,
    'Go on here (--on here), or begin a new run with another --out.',
  );
}

/** A whole model's state has its best values until they are written, and it is never calibrated within its run. */
const isDone = (exits: Checkpoint): boolean =>
  exits.calibration !== null &&
  exits.tuning['keepState'] !== true &&
  !isContinued(exits) &&
  readPosition(exits.directory).finished;
