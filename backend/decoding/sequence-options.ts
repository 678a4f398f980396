/** How a text is written, out of the options of a generation and the model that is open. */
import { userError } from '../../protocol/errors.ts';
import type { GenerateOptions } from '../../protocol/options/options.ts';
import type { Mode } from '../../protocol/trace.ts';
import type { Calibration } from '../checkpoint/checkpoint.ts';
import { gatesOf } from '../checkpoint/gates.ts';
import type { DraftOptions } from './block.ts';
import { hintsOf } from './leaving/hints.ts';
import type { SequenceOptions } from './sequence.ts';
import { exitId, type ExitSpec } from '../exits/spec.ts';
import type { ModelSpec } from '../model/spec.ts';
import type { StagedModel } from '../runtime/staged-model.ts';
import type { TextCodec } from './text.ts';
import { trustOfCalibration } from './leaving/trust.ts';
import { enabledExits, calibratedThresholds, modeOf, policyOf, promptLayerOf, remembersOf } from './leaving/mode.ts';

/** An open model: its tokenizer, its exits and their calibration. */
export interface OpenModel {
  readonly model: { readonly spec: ModelSpec };
  readonly tokenizer: TextCodec & { readonly eosIds: readonly number[] };
  readonly exits: readonly ExitSpec[];
  readonly calibration: Calibration | null;
  /** Absent if it is not cut at its exits yet. */
  readonly staged?: Pick<StagedModel, 'exits'>;
}

/** @throws UserError if the options name an exit that is not there. */
export function sequenceOptions(options: GenerateOptions, open: OpenModel): SequenceOptions {
  const { model, tokenizer, calibration } = open;
  checkExitNames(options, open);
  const mode = modeOf(options, calibration);
  const isUsed = enabledExits(options, calibration, model.spec.layers.length);
  // An open model may be cut at exits of another request.
  const own = new Set(open.exits.map(exitId));
  const isEnabled = (exit: string): boolean => own.has(exit) && isUsed(exit);
  const judged = mode === 'fast' && calibratedThresholds(options, calibration) !== null ? calibration : null;
  const { temperature, topK, topP, minP, repetitionPenalty } = options;
  return {
    maxTokens: options.maxTokens,
    policy: policyOf(options, calibration),
    enabled: (exit) => mode === 'fast' && isEnabled(exit),
    remembers: mode === 'fast' && remembersOf(options, calibration),
    promptExit: promptLayerOf(options, calibration, open.staged?.exits),
    onProbation: judged !== null,
    learnedAnswers: calibration?.learnedAnswers ?? false,
    drafts: draftsOf(mode, options.drafts, isEnabled),
    hints: judged ? hintsOf(judged) : new Map(),
    gates: judged ? gatesOf(judged) : new Map(),
    trust: judged ? trustOfCalibration(judged) : new Map(),
    sampling: { temperature, topK, topP, minP, repetitionPenalty },
    seed: options.seed,
    endOfText: tokenizer.eosIds,
    stopStrings: options.stop,
    candidates: options.candidates,
    codec: tokenizer,
  };
}

/** The same, drafting from other texts too; see `DraftOptions`. */
export const draftingFrom = (
  drafts: DraftOptions | null,
  others: readonly (readonly number[])[],
): DraftOptions | null => drafts && { ...drafts, others };

/** Every exit that the options name must be one of the checkpoint's. */
function checkExitNames(
  { disable, threshold, exits, mode, candidates }: GenerateOptions,
  { exits: all }: Pick<OpenModel, 'exits'>,
): void {
  // At full depth exits are not even opened.
  if (exits === null || (mode === 'full' && candidates === 0)) return;
  const known = all.map((exit) => ({ id: exitId(exit), layer: String(exit.layer) }));
  const isUnknown = (name: string): boolean => known.every(({ id, layer }) => id !== name && layer !== name);
  const disabled = disable.find(isUnknown);
  const ids = `The exits are ${known.map(({ id }) => id).join(', ')}.`;
  if (disabled !== undefined) throw userError('bad-argument', `There is no exit "${disabled}" to disable.`, ids);
  const thresholded = Object.keys(threshold.exits).find(isUnknown);
  if (thresholded !== undefined)
    throw userError('bad-argument', `There is no exit "${thresholded}" to have a threshold.`, ids);
}

/** The text drafts in both modes; exits draft only in the mode in which the final exit verifies. */
function draftsOf(mode: Mode, limit: number, isEnabled: (exit: string) => boolean): DraftOptions | null {
  if (mode === 'full' || limit === 0) return null;
  return { lookup: true, exits: (exit) => mode === 'lossless' && isEnabled(exit), limit };
}
