/**
 * What generating stands on: a model cut at its exits on a device, its tokenizer, and the session that all texts of its thread join.
 * The last one stays open, so that an editor's next request neither loads the model nor reads its context again.
 */
import { join } from 'node:path';
import type { GenerateOptions } from '../../protocol/options.ts';
import type { Tokenizer } from '../data/tokenizer.ts';
import { newPace } from '../decoding/pace.ts';
import { openSession, type Session } from '../decoding/session.ts';
import type { ExitSpec } from '../exits/spec.ts';
import { statOf } from '../formats/files.ts';
import type { Model } from '../model/open.ts';
import { placeOn, placeStagedModel } from '../devices/fallback.ts';
import { chooseDevice, type Device } from '../devices/devices.ts';
import { needsOf } from '../devices/fit.ts';
import { noExits, onlyExits } from '../runtime/open.ts';
import { positionBytes, type StagedModel } from '../runtime/staged-model.ts';
import { infoFile, parametersFile, type Calibration } from '../checkpoint/checkpoint.ts';
import { memoryFile } from '../checkpoint/memory.ts';
import { runtimeOptions } from './backbone.ts';
import { askedExits, askedMode, promptLayerOf } from '../decoding/mode.ts';
import { passesOf, passPlace, readPasses } from './kept-passes.ts';
import { openWithTokenizer, readExits } from './opened.ts';

export interface Generator {
  readonly model: Model;
  readonly tokenizer: Tokenizer;
  readonly staged: StagedModel;
  /** Every exit of the checkpoint, whether these options ask it or not. */
  readonly exits: readonly ExitSpec[];
  readonly calibration: Calibration | null;
  readonly device: Device;
  /** What every text of this model joins. */
  readonly session: Session;
  /** Takes what the device had to warn of since it was last asked. */
  warnings(): string[];
  /** One who opened it needs it no longer. It stays open until another is opened. */
  release(): void;
}

/** What is open: which files on what, cut at which exits, and whether these are all that the checkpoint has. */
interface Kept {
  readonly files: string;
  readonly cuts: string;
  readonly isWhole: boolean;
  readonly generator: Promise<Generator>;
  users: number;
}

/** Those in use, and the last one. */
let kept: readonly Kept[] = [];

/** Texts at a time: more would wait longer for each other than in turn. */
const mostTexts = 64;
/** Bytes of keys, values and streams that texts may take while they are only remembered. */
const usualBytes = 2 ** 29;
/** Tokens of a prompt that are read at once: a text in flight, or a cancellation, waits for no more. */
const pieceTokens = 128;

export interface GeneratorUse {
  /** For texts that are over. */
  readonly rememberedBytes?: number;
  /** Whether there is half a second to measure what passes cost, if that is not known. */
  readonly measures?: boolean;
}

/**
 * The generator for these options: one that is open if nothing has changed, on disk neither. One that is cut at all exits also serves
 * who asks only some of them, so that an editor's generations, which show what every exit says, and its completions share it. Its user
 * releases it. Opening goes on if the signal fires, since the next request would begin it anew.
 * @throws UserError for a model or checkpoint that cannot be used; the signal's reason once it fires.
 */
export async function openGenerator(
  options: GenerateOptions,
  signal: AbortSignal,
  { rememberedBytes = usualBytes, measures = false }: GeneratorUse = {},
): Promise<Generator> {
  // At full depth the stages are only cut where somebody wants to see what the exits say.
  const mode = askedMode(options);
  const exits = mode !== 'full' || options.candidates > 0 ? options.exits : null;
  const { model, device, gpuLayers, precision, threads, head } = options;
  const { policy, threshold, disable, candidates, promptExit } = options;
  const checkpoint = exits && [exits, ...checkpointState(exits)];
  const files = JSON.stringify([state(model), checkpoint, device, gpuLayers, precision, threads, head]);
  const isWhole = exits !== null && candidates > 0;
  const cuts = JSON.stringify(exits && [mode, policy, threshold.calibrated, disable, promptExit, isWhole]);
  const isIt = (one: Kept): boolean => one.files === files && (one.cuts === cuts || one.isWhole);
  const own =
    kept.find(isIt) ??
    keep({ files, cuts, isWhole }, (release) => open(options, exits, { rememberedBytes, measures }, release));
  own.users++;
  try {
    return await orAborted(own.generator, signal);
  } catch (error) {
    own.users--;
    throw error;
  }
}

/** Closes generators that nothing uses, and opens one more. */
function keep(what: Pick<Kept, 'files' | 'cuts' | 'isWhole'>, open: (release: () => void) => Promise<Generator>): Kept {
  const idle = kept.filter(({ users }) => users === 0);
  kept = kept.filter(({ users }) => users > 0);
  const opened = Promise.all(idle.map(close)).then(() => open(() => void own.users--));
  const own: Kept = { ...what, generator: opened, users: 0 };
  kept = [...kept, own];
  opened.catch(() => (kept = kept.filter((one) => one !== own)));
  return own;
}

/** Closes every generator of this thread, in use or not. */
export async function closeGenerators(): Promise<void> {
  const all = kept;
  kept = [];
  await Promise.all(all.map(close));
}

async function close({ generator }: Kept): Promise<void> {
  const opened = await generator.catch(() => null);
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
  options: GenerateOptions,
  directory: string | null,
  { rememberedBytes, measures }: Required<GeneratorUse>,
  release: () => void,
): Promise<Generator> {
  const { signal } = new AbortController();
  const { model, tokenizer } = openWithTokenizer(options.model);
  try {
    const exits = directory === null ? { ...noExits, calibration: null } : await readExits(directory, model, signal);
    const { specs, calibration } = exits;
    const isWanted = askedExits(options, calibration, model.spec.layers.length);
    const promptLayer = promptLayerOf(options, calibration);
    const isAsked = (exit: string): boolean =>
      options.candidates > 0 || isWanted(exit) || Number.parseInt(exit, 10) === promptLayer;
    const asked = onlyExits(exits, isAsked);
    const device = await chooseDevice(options, needsOf(model, options.precision === 'exact', asked), signal);
    const messages: string[] = [];
    const placement = placeOn(device, (message) => void messages.push(message));
    const staged = await placeStagedModel(placement, model, asked, runtimeOptions(options));
    const positions = Math.floor(rememberedBytes / positionBytes(staged, options.precision === 'exact' ? 4 : 2));
    const place = passPlace(model, device.name, options);
    const pace = newPace(staged, measures ? await passesOf(staged, place) : readPasses(place));
    const session = openSession(staged, { rows: mostTexts, positions, pieceTokens }, pace);
    const warnings = (): string[] => messages.splice(0);
    return { model, tokenizer, staged, exits: specs, calibration, device, session, warnings, release };
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
