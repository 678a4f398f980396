/** How long a calibration takes at least, from times measured on the machine. Pure. */
import { fewestTokens } from './calibration.ts';
import { choosingContext, newTokens, timedBatch } from './calibration-texts.ts';
import { allowedLoss, fewestJudged, type Guarantee } from './promise.ts';
import { trialPrompt, trialTexts, trialTokens } from './trial.ts';

/** If text that a candidate writes is judged, the full model's text only chooses candidates, so that fewer tokens of it suffice. */
const fewestIfJudged = 768;
/** More of them choose hardly better: the time is then worth more for judging a second, bolder candidate. */
const enoughIfJudged = 1536;
/**
 * Time of a token that a candidate writes, in small batches, and the full model judges, with its part of the prompt ÷ that of a token that
 * the full model writes while all exits are read.
 */
const judgingShare = 1.75;
/** Tokens that usually judge the most cautious candidate and a bolder one, as a multiple of those that would do if none lost anything. */
const usualJudged = 3;
/** Part of that which the most cautious one takes. */
const firstJudged = 0.5;
/** Ways that write the texts of a trial, in times of full depth: drafts and exits make texts shorter. */
const waysOfTrial = 3.5;
/** Seconds of a token outside of passes: of a model with a few million parameters it is most of the time. */
const ownSeconds = 0.0004;
/** What measuring costs takes, in passes at full depth. */
const passesOfCosts = 100;

/** Whether text is judged that candidates have written: that of exits with memories, under a promise that allows a loss. */
export const isJudged = ({ promise }: Guarantee, remembers: boolean): boolean => remembers && allowedLoss(promise) > 0;

/** Fewest tokens of the full model's own text. */
export const fewestObserved = (request: Guarantee, remembers: boolean): number =>
  isJudged(request, remembers) ? Math.min(fewestIfJudged, fewestTokens(request)) : fewestTokens(request);

/** Seconds in which two candidates are usually judged; `aToken`: seconds of a token of the full model's own text. */
export const judgingSeconds = (request: Guarantee, remembers: boolean, aToken: number): number =>
  isJudged(request, remembers) ? judgingShare * usualJudged * fewestJudged(request) * aToken : 0;

/**
 * Seconds of what follows `observed` tokens of the full model's own text until the trial: one candidate must be judged, and more should be if
 * there are enough tokens.
 */
export const secondsToJudge = (request: Guarantee, remembers: boolean, aToken: number, observed: number): number =>
  (observed > enoughIfJudged ? 1 + firstJudged : firstJudged) * judgingSeconds(request, remembers, aToken);

/** Seconds of the trial, for which the model is opened again, once whole and once cut. */
export const trialSeconds = (
  { opening, fullPass, ofPrompt }: Omit<MachineTimes, 'loading' | 'aToken'>,
  areChats: boolean,
): number =>
  2 * opening + (1 + trialTexts.fewest) * (trialTokens(areChats) * fullPass + trialPrompt * ofPrompt) * waysOfTrial;

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

/** Seconds of the shortest calibration that can keep this promise. */
export function leastCalibration(
  times: MachineTimes,
  request: Guarantee,
  { remembers, areChats }: { readonly remembers: boolean; readonly areChats: boolean },
): number {
  const { loading, opening } = times;
  const [fullPass, aToken] = [times.fullPass + ownSeconds, times.aToken + ownSeconds];
  return (
    loading +
    opening +
    passesOfCosts * fullPass +
    inBatches(fewestObserved(request, remembers)) * (aToken + (choosingContext / newTokens) * times.ofPrompt) +
    judgingSeconds(request, remembers, aToken) +
    trialSeconds({ opening, fullPass, ofPrompt: times.ofPrompt }, areChats)
  );
}
