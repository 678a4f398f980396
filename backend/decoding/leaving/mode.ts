/**
 * The mode of a generation, the exits that it uses, and the rule by which a token leaves: from its options and the exits' calibration.
 * Pure; knows no runtime.
 */
import { broughtText } from '../../../protocol/brought.ts';
import { userError } from '../../../protocol/errors.ts';
import { thresholdOf } from '../../../protocol/options/notations.ts';
import type { GenerateOptions } from '../../../protocol/options/options.ts';
import { policies } from '../../../protocol/policies.ts';
import type { Mode } from '../../../protocol/trace.ts';
import { usedExits } from '../../checkpoint/calibration.ts';
import type { Calibration } from '../../checkpoint/checkpoint.ts';
import type { ExitPoint } from '../../runtime/staged-model.ts';
import type { Policy } from './policy.ts';
import { needsLogits } from '../sampling/sampler.ts';

/** The mode that the options alone decide, else `auto`. A promise holds only for calibrated thresholds and greedy tokens. */
export function modeFromOptions(options: GenerateOptions): GenerateOptions['mode'] {
  const { mode } = options;
  return mode === 'auto' && (options.exits === null || !namesNoRule(options) || needsLogits(options))
    ? 'lossless'
    : mode;
}

/** The mode that runs: `auto` is what calibrating found fastest within its promise, else lossless. */
export function modeOf(options: GenerateOptions, calibration: Calibration | null): Mode {
  const named = modeFromOptions(options);
  if (named !== 'auto') return named;
  return calibration && keepsPromise(options, calibration) ? calibration.fastest : 'lossless';
}

/** The warning before the first token: why the text may be worse, or which option has no effect; null if there is none. */
export function modeWarning(options: GenerateOptions, calibration: Calibration | null): string | null {
  const mode = modeOf(options, calibration);
  const allLayers = mode === 'fast' ? fullDepthReason(options, calibration) : null;
  if (allLayers !== null) return allLayers;
  if (options.exits === null) return null;
  if (mode !== 'fast') {
    if (options.mode !== 'auto')
      return namesNoRule(options)
        ? null
        : `Thresholds and policies apply only in mode fast, but ${mode} was requested.`;
    if (!namesNoRule(options))
      return 'Thresholds and policies apply only in mode fast, and auto never leaves early without a promise: the mode is lossless.';
    // Of samples nobody expects that they leave early.
    const reason = calibration?.fastest === 'fast' && !needsLogits(options) ? whyNoPromise(options, calibration) : null;
    return reason && `The calibration promises nothing ${reason}: the mode is lossless.`;
  }
  if (calibration === null || !leavesToCalibration(options, calibration))
    return "Tokens leave early by a rule that was not calibrated: the text can be worse than the model's own. Thresholds that keep a promise come from early-exit calibrate; mode lossless changes no text.";
  const reason = whyNoPromise(options, calibration);
  return (
    reason &&
    `The calibration promises nothing ${reason}: the text can be worse than the model's own. Mode lossless changes no text.`
  );
}

/** Why no token can leave early in mode fast; null if some can. */
function fullDepthReason(options: GenerateOptions, calibration: Calibration | null): string | null {
  if (options.exits === null)
    return 'There are no exits, so mode fast runs every token at full depth: give some with --exits.';
  const used = calibratedExits(options, calibration);
  if (used === null || used.length > 0) return null;
  return 'The calibration found no exit that saves time within its promise, so mode fast runs every token at full depth; --threshold leaves early without a promise.';
}

/** Options of sampling that do nothing, since nothing is drawn. */
export const samplingWarning = ({ temperature, topK, topP, minP }: GenerateOptions): string | null =>
  temperature > 0 || (topK === 0 && topP === 1 && minP === 0)
    ? null
    : 'Top-k, top-p and min-p choose among tokens to draw from, and at temperature 0 the most probable one is taken: give --temperature to sample.';

/**
 * Largest depth, as a share of the layers, at which an exit may draft. Each draft runs those layers alone, while an accepted draft saves
 * the time of a token, which with drafts from the text is hardly half of a full pass.
 */
const deepestDrafter = 1 / 4;

/**
 * Which exits decide or draft under these options. Those that a calibration leaves out cost more than they save, as do drafts of
 * deep exits.
 */
export function enabledExits(
  options: GenerateOptions,
  calibration: Calibration | null,
  layers: number,
): (exit: string) => boolean {
  const isUsed = exitsOfMode(modeOf(options, calibration), calibratedExits(options, calibration), layers);
  return (exit) => !isDisabled(options, exit) && isUsed(exit);
}

const isDisabled = ({ disable }: GenerateOptions, exit: string): boolean =>
  disable.some((name) => name === exit || name === exit.split(':')[0]);

function exitsOfMode(mode: Mode, used: readonly string[] | null, layers: number): (exit: string) => boolean {
  switch (mode) {
    case 'full':
      return () => false;
    case 'lossless':
      return (exit) => Number.parseInt(exit, 10) <= deepestDrafter * layers;
    case 'fast':
      return (exit) => used === null || used.includes(exit);
  }
}

/** The exits at which tokens leave by the calibration, if there is one and the options set no other rule. */
const calibratedExits = (options: GenerateOptions, calibration: Calibration | null): string[] | null =>
  calibration && leavesToCalibration(options, calibration) ? usedExits(calibration) : null;

/** The calibration's thresholds, if there are some and the options do not set others. */
export const calibratedThresholds = (
  options: GenerateOptions,
  calibration: Calibration | null,
): Calibration['thresholds'] | null =>
  calibration && leavesToCalibration(options, calibration) ? calibration.thresholds : null;

/** Thresholds hold for the exits with which they were tested: if one is disabled, its tokens would leave at others. */
const leavesToCalibration = (options: GenerateOptions, calibration: Calibration): boolean =>
  namesNoRule(options) && !disablesUsed(options, calibration);

const disablesUsed = (options: GenerateOptions, calibration: Calibration): boolean =>
  usedExits(calibration).some((exit) => isDisabled(options, exit));

const keepsPromise = (options: GenerateOptions, calibration: Calibration): boolean =>
  namesNoRule(options) && whyNoPromise(options, calibration) === null;

/** Which option lies beyond what a calibration tested, as the end of a sentence; null if none does. */
function whyNoPromise(options: GenerateOptions, calibration: Calibration): string | null {
  const { deferred, promptExit } = options;
  if (disablesUsed(options, calibration)) return 'if exits are disabled';
  if (deferred === 'memory' && calibration.deferred === 'exact') return 'with --deferred memory';
  if (typeof promptExit === 'number' && promptExit < (calibration.promptExit ?? Infinity))
    return `with --prompt-exit ${promptExit}`;
  return needsLogits(options) ? 'if tokens are sampled or penalised' : null;
}

const namesNoRule = ({ threshold, policy }: GenerateOptions): boolean =>
  threshold.calibrated && policy === 'confidence';

/** Whether memories fill the layers that a token left out: as the calibration in use was judged, or as requested. */
export function remembersOf(options: GenerateOptions, calibration: Calibration | null): boolean {
  if (options.deferred !== 'auto') return options.deferred === 'memory';
  return calibration && calibratedThresholds(options, calibration) ? calibration.deferred === 'memory' : true;
}

/**
 * The layer at which prompts stop, as requested or as calibrated; null: none does. `exits`: those of the model, if it is open: one that is
 * partly on a GPU may lack the memory that was calibrated.
 * @throws UserError if one is named but the mode keeps the full model's text.
 */
export function promptLayerOf(
  options: GenerateOptions,
  calibration: Calibration | null,
  exits?: readonly Pick<ExitPoint, 'layer' | 'remembers'>[],
): number | null {
  const { promptExit } = options;
  if (promptExit === 'off') return null;
  const mode = modeOf(options, calibration);
  if (promptExit === 'auto') {
    const layer = mode === 'fast' && calibratedThresholds(options, calibration) ? calibration?.promptExit : undefined;
    const isAble = exits?.some((exit) => exit.remembers && exit.layer === layer) ?? true;
    return isAble ? (layer ?? null) : null;
  }
  if (mode === 'fast' && options.exits !== null) return promptExit;
  throw userError(
    'bad-argument',
    `--prompt-exit ${promptExit} needs exits and the mode fast, since it changes the text; the mode is ${mode}.`,
    'Give --mode fast and --exits, or leave --prompt-exit out.',
  );
}

export function policyOf(options: GenerateOptions, calibration: Calibration | null): Policy {
  const calibrated = calibratedThresholds(options, calibration);
  if (calibrated) return { kind: 'confidence', threshold: (exit) => calibrated[exit] ?? 1 };
  const { policy, threshold, patience } = options;
  const rule = policies[policy];
  if (rule.setBy === 'patience') return { kind: policy, threshold: () => patience };
  return { kind: policy, threshold: (exit) => thresholdOf(threshold, exit, rule.usual) };
}

/** The rule by which tokens leave, for a reader; null if none leaves early. */
export function policyText(options: GenerateOptions, calibration: Calibration | null): string | null {
  if (options.exits === null || modeOf(options, calibration) !== 'fast') return null;
  if (calibratedThresholds(options, calibration)) return 'as calibrated';
  const { policy, threshold, patience } = options;
  const own = Object.entries(threshold.exits).map(([exit, value]) => `${exit}=${value}`);
  const rule = policies[policy];
  const values = rule.setBy === 'patience' ? patience : [threshold.all ?? rule.usual, ...own].join(',');
  return `${policy} ${values}, not calibrated`;
}

/** What leaving by a calibration brings and costs, for a reader; null if no token leaves early. */
export function broughtBy(options: GenerateOptions, calibration: Calibration | null): string | null {
  const brought = calibration?.brought ?? null;
  if (brought === null || options.exits === null || modeOf(options, calibration) !== 'fast') return null;
  return calibration && keepsPromise(options, calibration) ? broughtText(brought) : null;
}
