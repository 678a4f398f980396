/** How long a calibration takes, from times measured on the machine. Pure. */
import { usualPromise } from '../../../protocol/options/groups.ts';
import { fewestTokens } from './calibration.ts';
import { choosingContext, newTokens, timedBatch, type CalibrationRequest } from './calibration-texts.ts';
import { allowedLoss, fewestJudged, type Guarantee } from './promise.ts';
import { trialPrompt, trialTexts, trialTokens, warmUp } from './trial.ts';

/**
 * If text that a candidate writes is judged, the full model's text only chooses candidates: 512 tokens of it choose as well as 3,072
 * (docs/lab.md).
 */
const fewestIfJudged = 512;
/** Tokens of it unless others are requested: if they only choose candidates, and if half of them test the promise. */
const usualTokens = usualPromise.calibrationTokens;
/**
 * Time of a token that a candidate writes, in small batches, and the full model judges, with its part of the prompt ÷ that of a token that
 * the full model writes while all exits are read.
 */
const judgingShare = 1.75;
/**
 * What usually judges the most cautious candidate and two bolder ones, whose prompts are read already, in tokens of the most cautious one, as
 * a multiple of those that would do if it lost nothing.
 */
const usualJudged = 5;
/** Part of that which the most cautious one takes. */
const firstJudged = 0.3;
/** What bolder candidates than these three take, and more texts of a trial than the fewest, if there is time: as a multiple. */
const [moreJudged, moreTimed] = [4 / 3, 3 / 2];
/** Ways that write the texts of a trial, in times of full depth: drafts and exits make texts shorter. */
const waysOfTrial = 3.5;
/** How often a trial reads a prompt: ways with the same cuts share it. */
const readingsOfTrial = 2;
/** Seconds of a token outside of passes: of a model with a few million parameters it is most of the time. */
const ownSeconds = 0.0004;
/** What measuring costs takes, in passes at full depth. */
const passesOfCosts = 100;

/** Whether text is judged that candidates have written: that of exits with memories, under a promise that allows a loss. */
export const isJudged = ({ promise }: Guarantee, remembers: boolean): boolean => remembers && allowedLoss(promise) > 0;

/** Fewest tokens of the full model's own text. */
export const fewestObserved = (request: Guarantee, remembers: boolean): number =>
  isJudged(request, remembers) ? Math.min(fewestIfJudged, fewestTokens(request)) : fewestTokens(request);

/** Tokens of the full model's own text that are wanted: as many as requested, and more if the promise needs more. */
export const wantedTokens = (request: CalibrationRequest, remembers: boolean): number =>
  Math.max(
    request.tokens ?? (isJudged(request, remembers) ? usualTokens.judged : usualTokens.tested),
    fewestObserved(request, remembers),
  );

/** Seconds in which three candidates are usually judged; `aToken`: seconds of a token of the full model's own text. */
export const judgingSeconds = (request: Guarantee, remembers: boolean, aToken: number): number =>
  isJudged(request, remembers) ? judgingShare * usualJudged * fewestJudged(request) * aToken : 0;

/** The part of these in which the first candidate is. */
export const secondsToJudgeOne = (request: Guarantee, remembers: boolean, aToken: number): number =>
  firstJudged * judgingSeconds(request, remembers, aToken);

/** Seconds of judging and of a trial that takes at least `trial` seconds, if there is time for all that may help. */
export const usuallyTakes = (request: Guarantee, remembers: boolean, aToken: number, trial: number): number =>
  moreJudged * judgingSeconds(request, remembers, aToken) + moreTimed * trial;

/** Seconds of the trial, for which the model is opened again, once whole and once cut. */
export const trialSeconds = (
  { opening, fullPass, ofPrompt }: Omit<MachineTimes, 'loading' | 'aToken'>,
  areChats: boolean,
): number => {
  const textSeconds = (prompt: number, tokens: number): number =>
    readingsOfTrial * prompt * ofPrompt + waysOfTrial * tokens * fullPass;
  return (
    2 * opening +
    textSeconds(warmUp.prompt, warmUp.tokens) +
    trialTexts.fewest * textSeconds(trialPrompt, trialTokens(areChats))
  );
};

/** Seconds. */
export interface MachineTimes {
  /** Reading the model's description, its tokenizer and the text. */
  readonly loading: number;
  /** Opening the model's weights. */
  readonly opening: number;
  /** A token of one text at full depth. */
  readonly fullPass: number;
  /** A token of a prompt. */
  readonly ofPrompt: number;
  /** A token of several texts that are written together while all exits are read. */
  readonly aToken: number;
}

/** Tokens of whole batches. */
const inBatches = (tokens: number): number => Math.ceil(tokens / (timedBatch * newTokens)) * timedBatch * newTokens;

/** Seconds of the shortest calibration that can keep this promise, and of one that judges three candidates. */
export function calibrationNeed(
  times: MachineTimes,
  request: Guarantee,
  { remembers, areChats }: { readonly remembers: boolean; readonly areChats: boolean },
): { readonly least: number; readonly usual: number } {
  const { loading, opening } = times;
  const [fullPass, aToken] = [times.fullPass + ownSeconds, times.aToken + ownSeconds];
  const around =
    loading +
    opening +
    passesOfCosts * fullPass +
    inBatches(fewestObserved(request, remembers)) * (aToken + (choosingContext / newTokens) * times.ofPrompt) +
    trialSeconds({ opening, fullPass, ofPrompt: times.ofPrompt }, areChats);
  return {
    least: around + secondsToJudgeOne(request, remembers, aToken),
    usual: around + judgingSeconds(request, remembers, aToken),
  };
}
