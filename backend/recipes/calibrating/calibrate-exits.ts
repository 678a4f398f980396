/**
 * Finds thresholds that keep a promise, on the model's own text, and leaves out exits and readings that cost more
 * than they save on this machine. Stores them in the checkpoint. Works on what a recipe has opened, within a budget of time.
 */
import { setImmediate } from 'node:timers/promises';
import type { CalibratedEvent, CalibrateEvent } from '../../../protocol/events.ts';
import { sweepThresholds } from '../../../protocol/options/tasks.ts';
import { saveCalibration } from '../../checkpoint/checkpoint.ts';
import { infoFile } from '../../formats/our-folders.ts';
import { storedGate } from '../../checkpoint/gates.ts';
import type { Tokenizer } from '../../data/tokenizer/tokenizer.ts';
import { measureCosts, quieter, type MeasuredCosts } from '../../decoding/drafts/costs.ts';
import type { PassTable } from '../../decoding/drafts/pace.ts';
import type { Position } from '../../decoding/leaving/observe.ts';
import { storedTrust } from '../../decoding/leaving/trust.ts';
import { exitCut } from '../../exits/architectures.ts';
import { damageBy } from '../../exits/memory.ts';
import { trustPath } from '../../exits/trust.ts';
import type { ExitPoint } from '../../runtime/staged-model.ts';
import { placeStagedModel } from '../../devices/fallback.ts';
import {
  calibrate as findThresholds,
  fewestTokens,
  fullPass,
  halvesOf,
  outcomeOf,
  savedBy,
  type Costs,
} from '../../evaluation/calibration/calibration.ts';
import { fastestOf, type Fastest } from '../../evaluation/calibration/fastest.ts';
import { findGates, withGate } from '../../evaluation/calibration/gates.ts';
import { fitHints, withHints } from '../../evaluation/calibration/hints.ts';
import type { Windows } from '../../features/features.ts';
import type { Model } from '../../model/open.ts';
import { cutName } from '../../model/spec.ts';
import type { Running } from '../../devices/fallback.ts';
import {
  alternating,
  choosingContext,
  mostNewTokens,
  newTokens,
  promptsOf,
  promptTokens,
  requireTokens,
  writeTexts,
  type CalibrationRequest,
  type Pace,
} from '../../evaluation/calibration/calibration-texts.ts';
import {
  fewestObserved,
  isJudged,
  secondsToJudgeOne,
  trialSeconds,
  usuallyTakes,
  wantedTokens,
} from '../../evaluation/calibration/calibration-time.ts';
import { machineName } from '../../evaluation/load.ts';
import {
  trialPrompt,
  trialTexts,
  trialTokens,
  tryOut,
  usedBy,
  type Candidate,
} from '../../evaluation/calibration/trial.ts';
import { fitTrust, thresholdsOfViews, type TrustedExit } from '../../evaluation/calibration/trust.ts';
import {
  meanLayer,
  viewsOf,
  viewsWith,
  type HintedObservations,
  type Views,
} from '../../evaluation/calibration/views.ts';
import { judgePrompts, promptSeconds } from '../../evaluation/calibration/prompts.ts';
import {
  canJudge,
  judgeWritten,
  mostJudgedTexts,
  type Judged,
  type Judgement,
} from '../../evaluation/calibration/written.ts';
import { passesOf, type PassPlace } from '../opening/kept-passes.ts';
import type { OpenedExits } from '../opening/opened.ts';
import { counting } from '../reporting.ts';

/** Passes whose time is measured. */
const costRounds = 15;

/** The inputs of a calibration. */
export interface Calibratable {
  readonly model: Model;
  readonly tokenizer: Tokenizer;
  readonly running: Running;
  readonly place: PassPlace;
  /** The folder of the exits, and its contents. */
  readonly directory: string;
  readonly exits: OpenedExits;
  /** Held-out text, whose beginnings the model continues. */
  readonly windows: Windows;
}

/** What the model cut at all of its exits has shown. */
interface Seen {
  readonly costs: MeasuredCosts;
  readonly passes: PassTable;
  /** The full model's own text, and what each exit says of its tokens. */
  readonly written: readonly Position[];
  readonly plain: readonly HintedObservations[];
  readonly withTrust: Views;
  /** Exits whose text keeps the promise, if text that left was judged. */
  readonly judged: Judgement;
  /** The layer at which prompts may stop. */
  readonly promptExit: number | null;
  /** Of each exit, the final one last. */
  readonly layers: readonly number[];
}

/**
 * Calibrates and stores the result; within a time limit, on fewer tokens. If the time is too short for the promise, ends with a warning and
 * without `calibrated`.
 * @throws UserError if the model cannot run or the text is too little for the promise; the signal's reason if it was aborted.
 */
export async function* calibrateExits(
  on: Calibratable,
  request: CalibrationRequest,
  signal: AbortSignal,
): AsyncGenerator<CalibrateEvent, void> {
  const { promise } = request;
  const began = performance.now();
  const elapsed = (): number => (performance.now() - began) / 1000;
  const seen = yield* observe(on, request, elapsed, signal);
  if (seen === null) return;
  const { judged, passes, promptExit } = seen;
  const isFilled = judged.kept !== null;
  const { stages, deferred, readings } = seen.costs;
  const costs: Costs = isFilled ? seen.costs : { stages, deferred, readings };
  const { areChats: learnedAnswers = false } = on.windows;
  const candidate = judged.kept ?? tested(seen, costs, request, learnedAnswers);
  signal.throwIfAborted();

  const places = candidate ? `, leaving at ${usedBy(candidate).join(' and ')}` : '';
  yield { type: 'phase', phase: 'measure', detail: `texts at full depth, lossless${places}, in turn` };
  const beginnings = promptsOf(on.windows, 1 + trialTexts.most, on.tokenizer.separatorId, trialPrompt);
  const isLate = (): boolean => elapsed() > request.time.planned;
  const racing = tryOut({ ...on, passes }, beginnings, candidate, trialTokens(learnedAnswers), isLate, signal);
  const trial = yield* counting('measure', 'texts', racing, signal);
  const best = fastestOf(candidate, trial);
  const { busy } = trial;
  const brought = best.brought && { ...best.brought, machine: machineName(), busy };

  saveCalibration(on.directory, {
    step: on.exits.step,
    promise,
    brought,
    fastest: best.mode,
    deferred: isFilled ? 'memory' : 'exact',
    ...(promptExit !== null && { promptExit }),
    ...(learnedAnswers && { learnedAnswers }),
    thresholds: best.thresholds,
    gates: Object.fromEntries([...best.gates].map(([exit, gate]) => [exit, storedGate(gate)])),
    hints: Object.fromEntries(best.hints),
    trust: Object.fromEntries([...best.trust].map(([exit, trust]) => [exit, storedTrust(trust)])),
  });
  yield { type: 'saved', path: on.directory, files: [infoFile] };
  yield {
    type: 'calibrated',
    promise,
    certainty: request.certainty,
    brought,
    ...(best.tried && { tried: { speedup: best.tried, busy } }),
    ...(judged.broken && !candidate && { broken: judged.broken }),
    ...broughtByThresholds(seen, costs, best, request),
    texts: trial.texts,
    isLate: judged.isLate && !isFilled,
    fastest: best.mode,
    seconds: elapsed(),
  };
}

/** Measures passes, writes the text that candidates are chosen from, and judges them; null if there is no time for that. */
async function* observe(
  on: Calibratable,
  request: CalibrationRequest,
  elapsed: () => number,
  signal: AbortSignal,
): AsyncGenerator<CalibrateEvent, Seen | null> {
  const { model, tokenizer, exits, running } = on;
  const { areChats: learnedAnswers = false } = on.windows;
  const separator = tokenizer.separatorId;
  // Text that candidates are chosen from judges none of them.
  const halves = isJudged(request, exits.remembers) ? alternating(on.windows) : null;
  const fresh = halves ? promptsOf(halves[1], mostJudgedTexts(request), separator, trialPrompt) : [];
  // With too little text to judge what is written with memories, exits are calibrated as if they had none.
  const remembers = halves !== null && canJudge(fresh.length, request);
  const choosing = remembers ? halves[0] : on.windows;
  const wanted = wantedTokens(request, remembers);
  const mostTokens = promptsOf(on.windows, wanted, separator).length * mostNewTokens;
  requireTokens(mostTokens, Math.max(1, fewestTokens(request)));
  // Texts may end early, at worst behind their first token.
  const prompts = promptsOf(choosing, wanted, separator, promptTokens, choosingContext);

  yield { type: 'phase', phase: 'load', detail: 'the model cut at its exits' };
  const staged = await placeStagedModel(running.placement, model, exits, running.options);
  const opening = elapsed();
  try {
    yield { type: 'phase', phase: 'measure', detail: 'what layers and exits cost here' };
    const text = prompts.flat().slice(0, promptTokens + newTokens);
    const measuring = () => counting('measure', 'passes', measureCosts(staged, { text, rounds: costRounds }), signal);
    const first = yield* measuring();
    const passes = await passesOf(staged, on.place);
    const ofPrompt = first.ofPrompt / 1000;
    const trial = trialSeconds({ opening, fullPass: fullPass(first) / 1000, ofPrompt }, learnedAnswers);
    const prompting = promptSeconds(staged, on.windows, ofPrompt);
    const pace = { elapsed, wanted, ...paceOf(request, remembers, trial, prompting) };
    const texts = yield* writeTexts(tokenizer, staged, prompts, request, pace, signal);
    if (texts === null) return null;
    const written = texts.flat();
    yield { type: 'phase', phase: 'measure', detail: 'what layers and exits cost here, once more' };
    const costs = quieter(first, yield* measuring());
    yield { type: 'phase', phase: 'evaluate', detail: 'how sure each exit must be' };
    await setImmediate();
    const plain = viewsOf(staged.exits, written);
    const { hints, observed } = listening(plain, request, written.length);
    const { planned, most: mostSeconds } = request.time;
    const hasTime = (seconds: number, isNeeded = false): boolean =>
      elapsed() + seconds + trial <= (isNeeded ? mostSeconds : planned);
    const trust = trustIn(staged.exits, exits).map((one) => fitTrust(one, written, request.promise));
    const damages = staged.exits.map((exit) => damageAt(exit, model, exits));
    const withTrust = viewsWith(trust, observed, { ...costs, damages }, staged.exits);
    const judgeOn = {
      tokenizer,
      staged,
      observed: withTrust.views,
      hints,
      trust,
      costs: withTrust.costs,
      prompts: remembers ? fresh : [],
      learnedAnswers,
      hasTime,
    };
    const judged = yield* judgeWritten(judgeOn, request, signal);
    const promptExit = yield* judgePrompts(staged, on.windows, ofPrompt, hasTime, signal);
    const layers = staged.exits.map(({ layer }) => layer);
    return { costs, passes, written, plain, withTrust, judged, promptExit, layers };
  } finally {
    await staged.dispose();
  }
}

/** How long what follows the texts takes, if its trial and the judging of prompts take so many seconds. */
const paceOf = (
  request: CalibrationRequest,
  remembers: boolean,
  trial: number,
  prompting: number,
): Omit<Pace, 'elapsed' | 'wanted'> => ({
  behind: (aToken) => trial + secondsToJudgeOne(request, remembers, aToken),
  usuallyBehind: (aToken) => usuallyTakes(request, remembers, aToken, trial) + prompting,
  fewest: fewestObserved(request, remembers),
});

/** Exits as sure as the text's hints leave them, by weights fitted on the first `tokens` tokens. */
function listening(
  plain: readonly HintedObservations[],
  { promise }: CalibrationRequest,
  tokens: number,
): { readonly hints: Candidate['hints']; readonly observed: readonly HintedObservations[] } {
  const hints = new Map(plain.map((view) => [view.exit, fitHints(view, promise, tokens)]));
  return { hints, observed: plain.map((view) => withHints(view, hints.get(view.exit)!)) };
}

/** See `Costs.damages`; 0 if an earlier version has fitted the memory. */
function damageAt({ spec, remembers }: ExitPoint, model: Model, { memoryErrors }: OpenedExits): number {
  if (!spec || !remembers) return 0;
  const cut = exitCut(spec);
  const errors = memoryErrors.get(cutName(cut));
  return errors ? damageBy(model.spec, cut, errors) : 0;
}

/** The exits whose memory has a direction of trust. */
const trustIn = (points: readonly ExitPoint[], { parameters }: Pick<OpenedExits, 'parameters'>): TrustedExit[] =>
  points.flatMap(({ id, stages, spec, remembers }, k) => {
    const direction = spec && remembers && parameters.get(trustPath(exitCut(spec)))?.data;
    return direction ? [{ exit: id, stages, k, direction }] : [];
  });

/** What the stored thresholds, and others, bring by the measured costs. */
function broughtByThresholds(
  { written, plain, withTrust, layers }: Seen,
  costs: Costs,
  { thresholds, trust, gates, speedups }: Fastest,
  { promise }: CalibrationRequest,
): Pick<CalibratedEvent, 'tokens' | 'sweep' | 'exits' | 'meanLayer' | 'layers' | 'fullDepth' | 'speedups'> {
  const gated = withTrust.views.map((view) => withGate(view, gates.get(view.exit)));
  const rule = thresholdsOfViews({ thresholds, trust });
  const { stages, deferred, readings, fills } = withTrust.costs;
  const ofViews: Costs = { stages, deferred, readings, ...(costs.fills && fills && { fills }) };
  const outcome = outcomeOf(gated, ofViews, promise, rule);
  return {
    tokens: written.length,
    sweep: sweepThresholds.map((threshold) => {
      const all = Object.fromEntries(plain.map(({ exit }) => [exit, threshold]));
      // A threshold that is given by hand is that of the exits alone.
      const { agreement, speedup } = outcomeOf(plain, costs, promise, all);
      return { threshold, agreement: agreement.value, speedup };
    }),
    exits: plain.map((view, k) => ({
      exit: view.exit,
      layer: layers[k]!,
      threshold: thresholds[view.exit] ?? null,
      trust: trust.get(view.exit)?.least ?? null,
      milliseconds: costs.readings[k]!,
      saves: savedBy(costs, k, view.stages),
      agreement: written.filter(({ token, observations }) => observations[k]!.token === token).length / written.length,
    })),
    meanLayer: meanLayer(withTrust.layers, gated, rule, written.length),
    layers: layers.at(-1)!,
    fullDepth: fullPass(costs),
    speedups: { ...speedups, exits: outcome.speedup },
  };
}

/** A candidate that keeps the promise with the exact cache: what it would have written follows from the full model's own text. */
function tested(
  { plain, written }: Pick<Seen, 'plain' | 'written'>,
  costs: Costs,
  request: CalibrationRequest,
  learnedAnswers: boolean,
): Judged | null {
  const { promise, certainty } = request;
  // The second half tests the promise.
  const { hints, observed } = listening(plain, request, halvesOf(written.length).learn.to);
  const found = findThresholds(observed, costs, { promise, certainty });
  if (found === null) return null;
  const { thresholds } = found;
  const { gates, agreement, regret } = findGates(observed, costs, promise, thresholds);
  return { thresholds, gates, hints, trust: new Map(), agreement, regret, remembers: false, learnedAnswers };
}
