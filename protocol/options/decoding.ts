/** Options of decoding, once each. */
import { boolean, integer, list, notation, number, oneOf, optionalText } from './kinds.ts';
import { parseThresholds, thresholdsNotation, type Thresholds } from './notations.ts';
import { policyHelp, usualThresholds } from '../policies.ts';

/** Most candidates in a readout of an exit, without the defer class of a shortlist, which is no token. */
export const mostCandidates = 5;

export const decodingOptions = {
  prompt: list({
    default: [],
    help: 'The prompt, or - for standard input; several prompts are decoded as a batch.',
  }),
  chat: boolean({ default: false, scope: 'window', help: "Format the prompt with the model's chat template." }),
  system: optionalText({ advanced: true, scope: 'window', help: 'System message of a chat.' }),
  maxTokens: integer({
    default: 128,
    minimum: 1,
    maximum: 10_000_000,
    scope: 'window',
    help: 'Stop after this number of new tokens.',
  }),
  mode: oneOf({
    scope: 'window',
    default: 'auto',
    values: {
      auto: 'the fastest mode that calibrate found to keep its promise; lossless if nothing is calibrated, if tokens are sampled or penalised, or if a threshold or policy is given',
      lossless:
        'the text of full, sooner: tokens are drafted from earlier text or by shallow exits, and the final exit verifies several at once',
      fast: 'each token leaves at the first exit that is sure enough; the text can be worse if that was not calibrated',
      full: 'every token runs all layers',
    },
    help: 'How exits are used.',
  }),
  tokenHealing: boolean({
    advanced: true,
    default: true,
    scope: 'window',
    help: 'If a prompt ends in blanks or inside a word, remove its last tokens and let the model write the same characters again in tokens of its own choice, because typing rarely stops at the end of a token.',
  }),
  drafts: integer({
    advanced: true,
    default: 8,
    minimum: 0,
    maximum: 64,
    scope: 'window',
    help: 'Maximum number of tokens drafted and verified together, in all modes but full. On the CPU drafts change the speed, never the text; on a GPU they may decide a near tie differently.',
  }),
  deferred: oneOf({
    advanced: true,
    scope: 'window',
    default: 'auto',
    values: {
      auto: "the way that was calibrated; if none was, the exit's memory, if it has one",
      memory:
        "the exit's memory fills the keys and values of the layers left out at once; exits without a memory work as in exact",
      exact: 'the layers left out run later, with the next token that goes deeper',
    },
    help: 'In mode fast: what happens to the layers that a token leaves out.',
  }),
  promptExit: notation<number | 'auto' | 'off'>({
    advanced: true,
    scope: 'window',
    default: 'off',
    placeholder: 'N|auto|off',
    expected: 'off, auto or a whole number of at least 1',
    parse: (text) => (text === 'auto' || text === 'off' ? text : /^[1-9]\d{0,3}$/.test(text) ? Number(text) : null),
    help: "In mode fast: layer of the exit at which prompts stop, except for their first 64 tokens and their last third. The exit's memory fills the later layers, so long prompts are read sooner. auto: the layer that was calibrated, if one was, else off.",
  }),
  policy: oneOf({
    advanced: true,
    scope: 'window',
    default: 'confidence',
    values: policyHelp,
    help: 'In mode fast: the rule by which an exit is sure enough.',
  }),
  threshold: notation<Thresholds>({
    default: 'auto',
    scope: 'window',
    placeholder: 'auto|T|EXIT=T,…',
    expected: thresholdsNotation,
    parse: parseThresholds,
    help: `In mode fast: how sure an exit must be, for all exits or by exit; with policy confidence, 1 never leaves early and 0 always does. auto: the calibrated thresholds, else ${usualThresholds}.`,
  }),
  patience: integer({
    advanced: true,
    default: 2,
    minimum: 1,
    maximum: 1000,
    scope: 'window',
    help: 'With policy patience: exits in a row that must agree.',
  }),
  disable: list({
    advanced: true,
    default: [],
    scope: 'window',
    variadic: true,
    placeholder: 'EXIT…',
    help: 'Exits not to use, such as 8:mlp.',
  }),
  head: oneOf({
    advanced: true,
    scope: 'window',
    default: 'screened',
    values: {
      screened:
        'on the CPU, greedy tokens read a 4-bit copy of a large head, and compute the best rows again from the head itself',
      exact: 'all of the head is read for every token',
    },
    help: 'With precision fast: how the head, the matrix that scores every token of the vocabulary, is read.',
  }),
  temperature: number({
    default: 0,
    minimum: 0,
    maximum: 100,
    scope: 'window',
    help: 'Temperature of sampling; 0 takes the most probable token.',
  }),
  topK: integer({
    advanced: true,
    default: 0,
    minimum: 0,
    maximum: 1_000_000,
    scope: 'window',
    help: 'Sample among this number of most probable tokens; 0 for all.',
  }),
  topP: number({
    advanced: true,
    default: 1,
    minimum: 0,
    above: true,
    maximum: 1,
    scope: 'window',
    help: 'Sample among the most probable tokens that together have this probability.',
  }),
  minP: number({
    advanced: true,
    default: 0,
    minimum: 0,
    maximum: 1,
    scope: 'window',
    help: 'Drop tokens whose probability is below this share of the largest one.',
  }),
  repetitionPenalty: number({
    advanced: true,
    default: 1,
    minimum: 0,
    above: true,
    maximum: 100,
    scope: 'window',
    help: 'Makes tokens that already occur in the text less probable: divides their positive logits by this number, and multiplies negative ones by it; 1 for no penalty.',
  }),
  stop: list({
    advanced: true,
    default: [],
    notEmpty: true,
    scope: 'window',
    help: 'Texts that end the generation; the flag may be repeated.',
  }),
  stopRepetition: boolean({
    advanced: true,
    default: true,
    scope: 'window',
    help: 'End a text that repeats the same line, or the same few lines, a third time.',
  }),
  candidates: integer({
    default: 0,
    minimum: 0,
    maximum: mostCandidates,
    scope: 'window',
    help: 'For each token, report this number of the most probable tokens of every exit, including exits that were not needed; 0 for none. Every token then runs all layers. In an editor the exits are read after the text is written, so the text is not delayed.',
  }),
};
