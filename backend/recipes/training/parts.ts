/** The parts of a tuning run: model, text, exits with their heads, sources of states, and held-out scores. */
import { bytesText } from '../../../protocol/bytes-text.ts';
import { plural } from '../../../protocol/plural.ts';
import type { ExitScore, TuneEvent } from '../../../protocol/events.ts';
import { placeExits, type ExitPlace } from '../../../protocol/options/notations.ts';
import { requireWeights, type TuneOptions } from '../../../protocol/options/options.ts';
import type { TokenSets } from '../../data/texts/packing.ts';
import { openHeldOut, type HeldOut } from '../../evaluation/scores.ts';
import { fittableCuts, layersBehind, memoryCuts } from '../../exits/memory.ts';
import { exitParameters, parameterSize } from '../../exits/parameters.ts';
import { exitCut } from '../../exits/architectures.ts';
import { shortlistsOf, type ExitSpec, type HeadSpec } from '../../exits/spec.ts';
import type { Model } from '../../model/open.ts';
import { remembering } from '../../model/overlay.ts';
import { multipliedSize, sizeOf } from '../../model/expected-parameters.ts';
import { finalCut, type Cut } from '../../model/spec.ts';
import { placeOn } from '../../devices/fallback.ts';
import { chooseDevice, machine, type Device } from '../../devices/devices.ts';
import { bytesOfLayers, needsOf } from '../../devices/fit.ts';
import type { FeatureModel } from '../../runtime/staged-model.ts';
import { requireSameBase, type BaseModel } from '../../checkpoint/checkpoint.ts';
import type { ModelNumbers } from '../../checkpoint/state.ts';
import type { FeatureCache } from '../../features/cache.ts';
import { featureSource, type FeatureSource, type FinalNorm, type Windows } from '../../features/features.ts';
import {
  featureCache,
  inStreamOrder,
  lazyFeatureModel,
  lazyTeacher,
  scorers,
  windowOptions,
} from '../opening/backbone.ts';
import type { Running } from '../../devices/fallback.ts';
import { requireEngine } from '../../tuning/needs-onnx.ts';
import type { TunePlan } from '../../tuning/plan.ts';
import { rememberedTeaching } from '../../tuning/step/teacher.ts';
import type { Teach } from '../../tuning/step/types.ts';
import { planSitting, type CalibrationTime, type Step } from './plan.ts';
import { identify, openWithTokenizer } from '../opening/opened.ts';
import { counting, readyEvent } from '../reporting.ts';
import type { Earlier, Sitting } from './training-run.ts';
import { findText, frequentTokens, readText, windowsOf } from '../text.ts';

type Values = ReadonlyMap<string, Float32Array>;

/** Share of the time for evaluations in which held-out text is read; the exits' scores take the rest. */
export const heldOutReading = 0.7;

export interface TuneParts {
  readonly model: Model;
  readonly base: BaseModel;
  readonly exits: readonly ExitSpec[];
  /** Of every trained parameter. */
  readonly shapes: ReadonlyMap<string, readonly number[]>;
  readonly device: Device;
  readonly windows: Windows;
  /** States at the exits' cuts, through the backbone to the deepest of them. */
  readonly states: FeatureSource;
  /** The same with the normed final state, through the whole backbone. */
  readonly wholeStates: FeatureSource;
  /** The same with keys and values of the layers behind those cuts whose memories are fitted. */
  readonly fitStates: FeatureSource;
  readonly memories: readonly Cut[];
  readonly teach: Teach;
  /** Held-out scores of the exits with these parameters; the final exit's is last. */
  readonly scores: (parameters: Values) => Promise<ExitScore[]>;
  /** Number of held-out tokens on which exits are evaluated. */
  readonly heldOutTokens: number;
  /** Of a new run with a limit in minutes. */
  readonly plan: TunePlan | null;
  /** Of the sitting; null if they are not limited. */
  readonly seconds: number | null;
  /** Of a run with a limit in minutes. */
  readonly calibration: CalibrationTime | null;
  /** Warnings since the last call. */
  warnings(): string[];
  /** Closes the whole backbone until it is needed again. */
  releaseWhole(): Promise<void>;
}

/**
 * Opens everything; what is opened is handed to `atEnd`. `seconds`: of this sitting, null if they are not limited; a preset's may become
 * more, see `planSitting`. `elapsed` gives those that are over.
 */
export async function* openParts(
  options: TuneOptions,
  earlier: Earlier | null,
  seconds: number | null,
  atEnd: Sitting['atEnd'],
  elapsed: () => number,
  signal: AbortSignal,
): AsyncGenerator<TuneEvent, TuneParts> {
  const inputs = yield* openInputs(options, earlier, atEnd, signal);
  const { model, base, device, exits, sets, windows } = inputs;
  const { spec } = model;
  const listed = exits.flatMap((exit) => exitParameters(spec, exit, model.parameters));
  const shapes = new Map(listed.map(({ name, shape }) => [name, shape]));

  const warnings: string[] = [];
  const placement = placeOn(device, (message) => void warnings.push(message));
  // One backbone to learn from and to judge by: a second one costs memory, and seconds to open.
  const { backbonePrecision: precision, threads } = options;
  const running: Running = { placement, options: windowOptions({ precision, threads }) };
  const cached = (text: Windows): FeatureCache | null => {
    const cache = options.featureCache ? featureCache(spec, base.sha256, text, running) : null;
    if (cache) atEnd(() => cache.close());
    return cache;
  };
  const cache = cached(windows);
  const able = options.initialise === 'fit' ? memoryCuts(spec, exits) : [];
  const memories = fittableCuts(spec, able, inputs.memoryLeft);
  if (!earlier && memories.length < able.length) warnings.push(unfitted(able, memories, inputs.memoryLeft));
  const states = openStates(model, exits, memories, running, { windows, cache }, atEnd);
  const lists = shortlistsOf(exits);
  const teacher = lazyTeacher(model, lists, running);
  atEnd(() => teacher.dispose());

  const openScorer = scorers(model, running);
  const planning = {
    ...{ model, exits, openScorer, states: states.fitting, step: states.step },
    heldOutWindows: windowsOf(sets, 'heldOut').count,
    isNew: !earlier,
    remembers: memories.length > 0,
  };
  const planned = seconds === null ? null : yield* planSitting(options, planning, seconds, atEnd, elapsed, signal);
  signal.throwIfAborted();
  const plan = planned?.plan ?? null;
  const heldOutWindows = windowsOf(
    sets,
    'heldOut',
    plan?.evaluationTokens ?? earlier?.heldOutTokens ?? options.evaluationTokens,
  );
  yield { type: 'phase', phase: 'features', detail: `${plural(heldOutWindows.count, 'window')} held out` };
  const readUntil = plan ? elapsed() + heldOutReading * plan.seconds.evaluation : Infinity;
  const opening = openHeldOut({
    spec,
    source: states.heldOut(heldOutWindows, cached(heldOutWindows)),
    exits,
    openScorer: async (exit, parameters) =>
      (exit === null ? planned?.takeScorer() : null) ?? openScorer(exit, parameters),
    // One at a time if the clock may end it.
    batch: plan ? 1 : options.batchSize,
    over: () => elapsed() > readUntil,
  });
  const heldOut = yield* counting('features', plan ? 'windows' : 'batches', opening, signal);

  return {
    ...{ model, base, exits, shapes, device, windows, memories, plan },
    states: states.toDeepest,
    wholeStates: states.whole,
    fitStates: states.fitting,
    teach: rememberedTeaching(teacher, lists.length),
    heldOutTokens: heldOut.windows * windows.tokens,
    seconds: planned?.seconds ?? null,
    calibration: planned?.calibration ?? null,
    scores: (parameters) => scoresWith(heldOut, shapes, parameters),
    warnings: warningsOf(warnings, cache),
    releaseWhole: () => states.releaseWhole(),
  };
}

/** What a run begins with. */
interface Inputs {
  readonly model: Model;
  readonly base: BaseModel;
  readonly device: Device;
  readonly exits: readonly ExitSpec[];
  readonly sets: TokenSets;
  readonly windows: Windows;
  /** Bytes of this machine's memory beside the model. */
  readonly memoryLeft: number;
}

/** Opens the model and the text, and gives the exits their heads. @throws UserError if the model is not that of the earlier sittings. */
async function* openInputs(
  options: TuneOptions,
  earlier: Earlier | null,
  atEnd: Sitting['atEnd'],
  signal: AbortSignal,
): AsyncGenerator<TuneEvent, Inputs> {
  const found = findText(options.data);
  yield { type: 'phase', phase: 'load', detail: options.model };
  const { model: asStored, tokenizer } = openWithTokenizer(options.model);
  atEnd(() => asStored.close());
  // Copies, the teacher, the fit and the scorers all read the head: of large vocabularies that takes seconds each time.
  const model = { ...asStored, parameters: remembering(asStored.parameters, 'lm_head.weight') };
  const { spec } = model;
  const base = await identify(model, signal);
  if (earlier) requireSameBase(earlier.directory, earlier.info.base, base);
  const needs = needsOf(model, options.backbonePrecision === 'exact');
  const device = await chooseDevice({ ...options, whole: true }, needs, signal);
  requireEngine({ fits: false, exitDevice: options.exitDevice, device: device.kind });
  const memoryLeft = machine.memory() - bytesOfLayers(needs, needs.layers.length);
  const places = inStreamOrder(earlier?.info.exits ?? bare(placeExits(options.exits, spec.layers.length)));
  requireWeights(options.exitWeights, places.length);
  yield readyEvent(model, places, device.name);

  const sets = yield* readText(found, options, tokenizer, spec, ['train', 'heldOut'], signal);
  atEnd(() => sets.close());
  const windows = windowsOf(sets, 'train');
  const exits = earlier ? places : await withHeads(places, options, model, windows, signal);
  return { model, base, device, exits, sets, windows, memoryLeft };
}

function unfitted(able: readonly Cut[], memories: readonly Cut[], bytes: number): string {
  const layers = able.filter((cut) => !memories.includes(cut)).map(({ layer }) => layer);
  return `Exits at ${layers.join(' and ')} get no memory, since this machine has ${bytesText(Math.max(0, bytes))} beside the model, which is too little to fit one there: they will bring less.`;
}

/** Held-out scores of the exits with these parameters; the final exit's is last. */
async function scoresWith(heldOut: HeldOut, shapes: TuneParts['shapes'], parameters: Values): Promise<ExitScore[]> {
  const given = new Map([...parameters].map(([name, data]) => [name, { shape: shapes.get(name)!, data }]));
  const scoring = heldOut.evaluate(given);
  for (;;) {
    const next = await scoring.next();
    if (next.done) return [...next.value.scores];
  }
}

/** See `TuneParts.warnings`: those that were collected, and once that the cache is full. */
function warningsOf(collected: string[], cache: FeatureCache | null): () => string[] {
  const reported = new Set<string | null>();
  return () => {
    const trouble = cache?.full() ?? null;
    if (trouble !== null && !reported.has(trouble)) collected.push(trouble);
    reported.add(trouble);
    return collected.splice(0);
  };
}

/** States of the text at the exits' cuts, by how much of the backbone computes them. */
interface States {
  readonly toDeepest: FeatureSource;
  readonly whole: FeatureSource;
  readonly fitting: FeatureSource;
  readonly step: Step;
  /** Of other text, through the whole backbone. */
  heldOut(windows: Windows, cache: FeatureCache | null): FeatureSource;
  releaseWhole(): Promise<void>;
}

/** Backbones are opened when their states are first needed, and closed at the end of the run. */
function openStates(
  model: Model,
  exits: readonly ExitSpec[],
  memories: readonly Cut[],
  running: Running,
  text: { readonly windows: Windows; readonly cache: FeatureCache | null },
  atEnd: Sitting['atEnd'],
): States {
  const { spec } = model;
  const cuts = exits.map(exitCut);
  const remembered = memories[0] ? layersBehind(spec, memories[0]) : [];
  const opened = (wanted: readonly Cut[], entries: readonly number[] = []): FeatureModel => {
    const backbone = lazyFeatureModel(model, wanted, running, entries);
    atEnd(() => backbone.dispose());
    return backbone;
  };
  const whole = opened([...cuts, finalCut(spec)]);
  const toDeepest = opened(cuts);
  const fitting = remembered.length === 0 ? whole : opened([...cuts, finalCut(spec)], remembered);
  const finalNorm = finalNormOf(model);
  return {
    toDeepest: featureSource({ model: toDeepest, ...text }),
    whole: featureSource({ model: whole, ...text, finalNorm }),
    fitting: featureSource({ model: fitting, ...text, finalNorm }),
    step: async (texts, tokens = 1) => void (await whole.features(new Int32Array(texts * tokens), texts, tokens)),
    heldOut: (windows, cache) => featureSource({ model: whole, windows, cache }),
    async releaseWhole() {
      await whole.dispose();
      if (fitting !== whole) await fitting.dispose();
    },
  };
}

/** Every exit with the head that the options name. Throws the signal's reason if it was aborted. */
export async function withHeads(
  exits: readonly ExitSpec[],
  { head, shortlist }: TuneOptions,
  { spec }: Model,
  text: Windows,
  signal: AbortSignal,
): Promise<ExitSpec[]> {
  const tokens = head === 'shortlist' ? await frequentTokens(text, spec.vocabulary, shortlist, signal) : null;
  const chosen: HeadSpec =
    head === 'shared' ? { kind: 'shared' } : tokens ? { kind: 'shortlist', tokens } : { kind: 'own' };
  return exits.map((exit) => ({ ...exit, head: chosen }));
}

/** Exits whose heads are not chosen yet. */
export const bare = (places: readonly ExitPlace[]): ExitSpec[] =>
  places.map((place) => ({ ...place, head: { kind: 'own' } }));

const finalNormOf = ({ parameters }: Model): FinalNorm => ({
  weight: parameters.values('norm.weight'),
  bias: parameters.has('norm.bias') ? parameters.values('norm.bias') : null,
});

/**
 * Parameters with which a token is multiplied: of the whole model if exits learn from the final one, else of the layers up to the deepest
 * exit.
 */
export function numbersOf({ model, exits, shapes }: TuneParts, { distillation }: TuneOptions): ModelNumbers {
  const { spec } = model;
  const whole = multipliedSize(spec);
  const depth = Math.max(...exits.map(({ layer }) => layer)) / spec.layers.length;
  const backbone = distillation > 0 ? whole : Math.round(depth * sizeOf(spec, /^layers\./));
  const trained = [...shapes.values()].reduce((sum, shape) => sum + parameterSize({ shape }), 0);
  return { backbone, whole, trained };
}
