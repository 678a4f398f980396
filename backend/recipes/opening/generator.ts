/**
 * What generating needs: a model cut at its exits on a device, its tokenizer, and the session that all texts of its thread join. The last
 * one stays open, so that an editor's next request neither loads the model nor computes its context again.
 */
import { join } from 'node:path';
import type { JobOptions } from '../../../protocol/jobs.ts';
import type { GenerateOptions } from '../../../protocol/options/options.ts';
import type { Tokenizer } from '../../data/tokenizer/tokenizer.ts';
import { newPace } from '../../decoding/drafts/pace.ts';
import { openSession, type Session } from '../../decoding/session.ts';
import type { ExitSpec } from '../../exits/spec.ts';
import { statOf } from '../../system/files.ts';
import type { Model } from '../../model/open.ts';
import { placeOn, placeStagedModel } from '../../devices/fallback.ts';
import { chooseDevice, type Device } from '../../devices/devices.ts';
import { needsOf } from '../../devices/fit.ts';
import { noExits, onlyExits } from '../../runtime/open.ts';
import { positionsWithin, type StagedModel } from '../../runtime/staged-model.ts';
import type { Calibration } from '../../checkpoint/checkpoint.ts';
import { infoFile, memoryFile, parametersFile } from '../../formats/our-folders.ts';
import { runtimeOptions } from './backbone.ts';
import { enabledExits, modeFromOptions, promptLayerOf } from '../../decoding/leaving/mode.ts';
import { passesOf, passPlace, readPasses } from './kept-passes.ts';
import { openWithTokenizer, readExits } from './opened.ts';

export interface Generator {
  readonly model: Model;
  readonly tokenizer: Tokenizer;
  readonly staged: StagedModel;
  /** Every exit of the checkpoint, also those that these options do not use. */
  readonly exits: readonly ExitSpec[];
  readonly calibration: Calibration | null;
  readonly device: Device;
  /** What every text of this model joins. */
  readonly session: Session;
  /** Returns the device's warnings since the last call. */
  warnings(): string[];
  /** One of its users is done. It stays open until another one is opened. */
  release(): void;
}

/** What is open: which model on what, with which exits' files, cut at which of them, and whether these are all that the checkpoint has. */
interface OpenGenerator {
  readonly place: string;
  readonly checkpoint: string | null;
  readonly cuts: string;
  readonly isWhole: boolean;
  readonly generator: Promise<Generator>;
  users: number;
}

/** Those in use, and the last one. */
let generators: readonly OpenGenerator[] = [];

/** Texts at a time: more would wait longer for each other than in turn. */
const usualTexts = 64;
/** Bytes of keys, values and streams that texts may take while they are only remembered. */
const usualBytes = 2 ** 29;
/** Tokens of a prompt that are read at once: a text in flight, or a cancellation, waits for no more. */
const pieceTokens = 128;

/** `explained`: see `JobOptions`. */
export type GeneratorOptions = GenerateOptions & Pick<JobOptions['generate'], 'explained'>;

/** Whether the predictions of every exit were requested. */
const readsAll = ({ candidates, explained = 0 }: GeneratorOptions): boolean => candidates > 0 || explained > 0;

export interface GeneratorUse {
  /** For texts that are over. */
  readonly rememberedBytes?: number;
  /** Most texts at a time, if they are more than usual. */
  readonly texts?: number;
  /** Whether half a second may be spent to measure the cost of passes, if that is not known. */
  readonly measures?: boolean;
}

/**
 * The generator for these options: an open one if nothing has changed, neither in the options nor on disk. A model that is cut at all exits
 * also serves requests that use only some of them, so that an editor's generations, which show every exit's prediction, and its completions
 * share it; a request at full depth takes a model with any exits, since a cut where no exit is read costs nothing. Its user releases it.
 * If the signal fires, opening continues nevertheless, since the next request would begin it anew.
 * @throws UserError for a model or checkpoint that cannot be used; the signal's reason once it fires.
 */
export async function openGenerator(
  options: GeneratorOptions,
  signal: AbortSignal,
  { rememberedBytes = usualBytes, texts = usualTexts, measures = false }: GeneratorUse = {},
): Promise<Generator> {
  // At full depth the stages are cut only if the exits' predictions were requested.
  const mode = modeFromOptions(options);
  const exits = mode !== 'full' || readsAll(options) ? options.exits : null;
  const { model, device, gpuLayers, precision, threads, head } = options;
  const { policy, threshold, disable, promptExit, deferred } = options;
  const place = JSON.stringify([state(model), device, gpuLayers, precision, threads, head]);
  const checkpoint = exits && JSON.stringify([exits, ...checkpointState(exits)]);
  const isWhole = exits !== null && readsAll(options);
  const cuts = JSON.stringify([mode, policy, threshold.calibrated, disable, promptExit, deferred, isWhole]);
  const isCut = (one: OpenGenerator): boolean => one.checkpoint === checkpoint && (one.cuts === cuts || one.isWhole);
  const readsNone = exits === null && !readsAll(options);
  const own =
    generators.find((one) => one.place === place && (readsNone || isCut(one))) ??
    keep({ place, checkpoint, cuts, isWhole }, (release) =>
      open(options, exits, { rememberedBytes, texts, measures }, release),
    );
  own.users++;
  try {
    const generator = await orAborted(own.generator, signal);
    const isShared = exits === null && own.checkpoint !== null;
    return isShared ? { ...generator, exits: [], calibration: null } : generator;
  } catch (error) {
    own.users--;
    throw error;
  }
}

/** Closes generators that nothing uses, and opens one more. */
function keep(
  what: Omit<OpenGenerator, 'generator' | 'users'>,
  open: (release: () => void) => Promise<Generator>,
): OpenGenerator {
  const idle = generators.filter(({ users }) => users === 0);
  generators = generators.filter(({ users }) => users > 0);
  const opened = Promise.all(idle.map(close)).then(() => open(() => void own.users--));
  const own: OpenGenerator = { ...what, generator: opened, users: 0 };
  generators = [...generators, own];
  opened.catch(() => (generators = generators.filter((one) => one !== own)));
  return own;
}

/** Closes every generator of this thread, in use or not. */
export async function closeGenerators(): Promise<void> {
  const all = generators;
  generators = [];
  await Promise.all(all.map(close));
}

async function close({ generator }: OpenGenerator): Promise<void> {
  const opened = await generator.catch(() => null);
  await opened?.session.stop();
  opened?.session.dispose();
  await opened?.staged.dispose();
  opened?.model.close();
}

function orAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted();
  return new Promise((resolve, reject) => {
    const abort = (): void => reject(signal.reason as Error);
    signal.addEventListener('abort', abort, { once: true });
    void promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
  });
}

async function open(
  options: GeneratorOptions,
  directory: string | null,
  { rememberedBytes, texts, measures }: Required<GeneratorUse>,
  release: () => void,
): Promise<Generator> {
  const { signal } = new AbortController();
  const { model, tokenizer } = openWithTokenizer(options.model);
  try {
    const exits =
      directory === null ? { ...noExits, calibration: null } : await readExits(directory, { model, tokenizer }, signal);
    const { specs, calibration } = exits;
    const isWanted = enabledExits(options, calibration, model.spec.layers.length);
    const promptLayer = promptLayerOf(options, calibration);
    const isUsed = (exit: string): boolean =>
      readsAll(options) || isWanted(exit) || Number.parseInt(exit, 10) === promptLayer;
    const used = onlyExits(exits, isUsed);
    const device = await chooseDevice(options, needsOf(model, options.precision === 'exact', used), signal);
    const messages: string[] = [];
    const placement = placeOn(device, (message) => void messages.push(message));
    const staged = await placeStagedModel(placement, model, used, runtimeOptions(options));
    try {
      const positions = positionsWithin(rememberedBytes, staged, options.precision === 'exact');
      const place = passPlace(model, device.name, options);
      const pace = newPace(staged, measures ? await passesOf(staged, place) : readPasses(place));
      const session = openSession(staged, { rows: Math.max(usualTexts, texts), positions, pieceTokens }, pace);
      const warnings = (): string[] => messages.splice(0);
      return { model, tokenizer, staged, exits: specs, calibration, device, session, warnings, release };
    } catch (error) {
      await staged.dispose();
      throw error;
    }
  } catch (error) {
    model.close();
    throw error;
  }
}

/** Changes when a file does; the same by every path to it. */
function state(path: string): string {
  const stat = statOf(path);
  return stat ? `${stat.ino} ${stat.size} ${stat.mtimeMs}` : `absent ${path}`;
}

const checkpointState = (directory: string): string[] =>
  [infoFile, parametersFile, memoryFile].map((file) => state(join(directory, file)));
