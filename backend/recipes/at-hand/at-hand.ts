/** What a command can use: models and exits with their size, age and calibration, and runs that can be resumed. */
import { readdirSync } from 'node:fs';
import path from 'node:path';
import { UserError } from '../../../protocol/errors.ts';
import type { ExitScore } from '../../../protocol/events.ts';
import { shippedModel } from '../../../protocol/options/groups.ts';
import { openCheckpoint, type Calibration } from '../../checkpoint/checkpoint.ts';
import { hasState, readPosition } from '../../checkpoint/state.ts';
import { cachedModels, placesHere } from '../../hub/model-caches.ts';
import { exitId } from '../../exits/spec.ts';
import { fileError, statOf } from '../../system/files.ts';

/** A model on this machine. */
export interface ModelAtHand {
  readonly name: string;
  /** What `--model` takes. */
  readonly reference: string;
  readonly bytes: number;
  /** The program that downloaded it; `ships` for the model that comes with this one. */
  readonly where: string;
}

/** Exits in a folder. */
export interface ExitsAtHand {
  readonly directory: string;
  /** Their model's name. */
  readonly model: string;
  readonly exits: readonly string[];
  readonly bytes: number;
  /** Milliseconds since 1970 at which they were last changed. */
  readonly at: number;
  /** Highest share of held-out tokens on which one of the exits agrees with the full model; null if it was not measured. */
  readonly agreement: number | null;
  readonly calibration: Calibration | null;
  /** Of a run that has not reached its end; null for one that has. */
  readonly run: { readonly step: number; readonly minutes: number; readonly hasState: boolean } | null;
  /** Why they cannot be used, as a sentence. */
  readonly problem: string | null;
}

/** The model that ships first; `shipped` is its folder. Models that are not whole are left out. */
export async function modelsAtHand(shipped: string): Promise<ModelAtHand[]> {
  const found = (await cachedModels(placesHere())).filter(({ problem }) => problem === null);
  return [
    { name: shippedModel, reference: shippedModel, bytes: bytesBelow(shipped), where: 'ships' },
    ...found.map(({ name, reference, bytes, cache }) => ({ name, reference, bytes, where: cache })),
  ];
}

/** The exits of a folder, whatever state they are in. */
export function exitsAtHand(directory: string): ExitsAtHand {
  let known: ExitsAtHand = {
    directory,
    model: '',
    exits: [],
    bytes: 0,
    at: 0,
    agreement: null,
    calibration: null,
    run: null,
    problem: null,
  };
  try {
    known = { ...known, bytes: bytesBelow(directory), at: changedAt(directory) };
    const opened = openCheckpoint(directory, null);
    opened.close();
    const { base, exits, progress, calibration } = opened;
    const agreements = progress.scores.filter(({ exit }) => exit !== 'final').map(({ agreement }) => agreement);
    return {
      ...known,
      model: base.name,
      exits: exits.map(exitId),
      agreement: agreements.length > 0 ? Math.max(...agreements) : null,
      calibration,
      run: runOf(directory),
    };
  } catch (error) {
    const problem = fileError(error, 'read', directory);
    if (!(problem instanceof UserError)) throw problem;
    return { ...known, problem: problem.message };
  }
}

/** Held-out scores of exits, the final exit's last, and the number of their model's layers. @throws UserError if they cannot be read. */
export function scoresOfExits(directory: string): { readonly scores: readonly ExitScore[]; readonly layers: number } {
  const opened = openCheckpoint(directory, null);
  opened.close();
  return { scores: opened.progress.scores, layers: opened.base.layers };
}

/** Exits work without what a run would go on with. */
function runOf(directory: string): ExitsAtHand['run'] {
  try {
    const { finished, step, seconds } = readPosition(directory);
    return finished ? null : { step, minutes: seconds / 60, hasState: hasState(directory) };
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    return null;
  }
}

// A running tune renames and removes files between the two looks at each; a link may lead nowhere.
function bytesBelow(directory: string): number {
  try {
    const entries = readdirSync(directory, { recursive: true, withFileTypes: true });
    return entries
      .filter((entry) => entry.isFile())
      .reduce((sum, entry) => sum + (statOf(path.join(entry.parentPath, entry.name))?.size ?? 0), 0);
  } catch (error) {
    throw fileError(error, 'read', directory);
  }
}

const changedAt = (directory: string): number =>
  Math.max(0, ...readdirSync(directory).map((name) => statOf(path.join(directory, name))?.mtimeMs ?? 0));
