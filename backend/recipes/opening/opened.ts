/** What every recipe begins with: the model that the options name, its tokenizer, and the exits of a checkpoint. */
import { join } from 'node:path';
import { userError } from '../../../protocol/errors.ts';
import type { ExitScore } from '../../../protocol/events.ts';
import { checkVocabulary, loadTokenizer, type Tokenizer } from '../../data/tokenizer/tokenizer.ts';
import { checkShapes, exitParameters } from '../../exits/parameters.ts';
import { exitCut } from '../../exits/architectures.ts';
import { exitId } from '../../exits/spec.ts';
import { userCache } from '../../system/user-cache.ts';
import { openModel, type Model } from '../../model/open.ts';
import { cutWidth } from '../../model/spec.ts';
import type { ParameterValues } from '../../model/overlay.ts';
import type { ExitSet } from '../../runtime/open.ts';
import { hashWeights } from '../../checkpoint/hash.ts';
import { readMemories, readMemoryErrors } from '../../checkpoint/memory.ts';
import {
  baseModel,
  openCheckpoint,
  type BaseModel,
  type Calibration,
  type Checkpoint,
} from '../../checkpoint/checkpoint.ts';
import { infoFile, parametersFile } from '../../formats/our-folders.ts';

export interface OpenedModel {
  readonly model: Model;
  readonly tokenizer: Tokenizer;
}

/** @throws UserError if there is no model, or model and tokenizer do not belong together. */
export function openWithTokenizer(path: string): OpenedModel {
  const model = openModel(path);
  try {
    const tokenizer = loadTokenizer(model.path);
    checkVocabulary(tokenizer, model.name, model.spec.vocabulary);
    return { model, tokenizer };
  } catch (error) {
    model.close();
    throw error;
  }
}

/** Name, shape and hash of a model, by which a checkpoint knows its own. */
export async function identify(model: Model, signal?: AbortSignal): Promise<BaseModel> {
  const sha256 = await hashWeights(model.files, { cache: join(userCache(), 'hashes'), ...(signal && { signal }) });
  return baseModel(model.name, model.spec, sha256);
}

export interface OpenedExits extends ExitSet {
  readonly base: BaseModel;
  /** Whether some exits have a memory; those of earlier versions have none. */
  readonly remembers: boolean;
  /** Errors of the memories, by cut name. */
  readonly memoryErrors: ReturnType<typeof readMemoryErrors>;
  readonly calibration: Calibration | null;
  /** On held-out text, by exit. */
  readonly scores: readonly ExitScore[];
  /** Of the run that made these values. */
  readonly step: number;
  /** Target tokens that it saw. */
  readonly tokens: number;
  /** Its options. */
  readonly tuning: Readonly<Record<string, unknown>>;
}

/**
 * Reads a checkpoint's exits into memory. If they are to decode, with the tokenizer, they also read what their shortlists lack.
 * @throws UserError if it is damaged, belongs to another model or does not fit it.
 */
export async function readExits(
  directory: string,
  { model, tokenizer }: Pick<OpenedModel, 'model'> & Partial<OpenedModel>,
  signal?: AbortSignal,
): Promise<OpenedExits> {
  const checkpoint = openCheckpoint(directory, await identify(model, signal));
  try {
    checkFit(checkpoint, model);
    const parameters = new Map<string, ParameterValues>();
    for (const [name, shape] of checkpoint.shapes) parameters.set(name, { shape, data: checkpoint.values(name) });
    const { base, exits, calibration, tuning, progress } = checkpoint;
    const memories = readMemories(directory, model.spec, exits);
    for (const [name, values] of memories) parameters.set(name, values);
    const { scores, step, tokens } = progress;
    const memory = { remembers: memories.size > 0, memoryErrors: readMemoryErrors(directory) };
    const read = { base, specs: exits, parameters, ...memory, calibration, scores, step, tokens, tuning };
    return tokenizer ? { ...read, spellings: tokenizer.spellings, readsCommon: true } : read;
  } finally {
    checkpoint.close();
  }
}

/** Checks that need the model: the shapes of the exits' parameters and the widths of their gates. */
function checkFit({ directory, exits, shapes, calibration }: Checkpoint, { spec, parameters }: Model): void {
  const expected = exits.flatMap((exit) => exitParameters(spec, exit, parameters));
  checkShapes(expected, shapes, join(directory, parametersFile));
  for (const exit of exits) {
    const gate = calibration?.gates[exitId(exit)];
    const trust = calibration?.trust?.[exitId(exit)];
    const width = cutWidth(spec, exitCut(exit));
    if (gate && Buffer.from(gate.weights, 'base64').length !== 4 * width) {
      const file = join(directory, infoFile);
      throw userError(
        'bad-checkpoint',
        `${file}: the gate of exit ${exitId(exit)} is not ${width} wide.`,
        'Calibrate again.',
      );
    }
    if (trust && Buffer.from(trust.direction, 'base64').length !== 4 * (width + 1)) {
      const file = join(directory, infoFile);
      throw userError(
        'bad-checkpoint',
        `${file}: the trust of exit ${exitId(exit)} is not ${width} wide.`,
        'Calibrate again.',
      );
    }
  }
}

/** A note about exits without memories, from earlier versions or of a kind that has none; null if some exit has one. */
export const withoutMemory = (directory: string, { remembers }: Pick<OpenedExits, 'remembers'>): string | null =>
  remembers
    ? null
    : `The exits in ${directory} have no memory: when a token leaves early, the layers that it skipped are computed with a later token, which takes most of the time that leaving saves. tune with --initialise fit gives them one.`;
