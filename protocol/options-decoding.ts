/** Options of decoding, once each. */
import { boolean, integer, list, notation, number, oneOf, optionalText } from './options-kinds.ts';
import { defaultThreshold, parseThresholds, thresholdsNotation, type Thresholds } from './options-notations.ts';
import { policyHelp } from './policies.ts';

/** What a reading of an exit carries, less the defer class of a shortlist, which is no token. */
export const mostCandidates = 5;

export const decodingOptions = {
  prompt: list({
    default: [],
    help: 'The prompt, - for standard input; repeated, the prompts are decoded as a batch.',
  }),
  chat: boolean({ default: false, scope: 'window', help: "Put the prompt into the model's chat template." }),
  system: optionalText({ advanced: true, scope: 'window', help: 'System message of a chat.' }),
  maxTokens: integer({
    default: 128,
    minimum: 1,
    maximum: 10_000_000,
    scope: 'window',
    help: 'Stop after so many new tokens.',
  }),
  mode: oneOf({
    scope: 'window',
    default: 'auto',
    values: {
      auto: 'what calibrate found fastest here within its promise; lossless until exits are calibrated, and where tokens are sampled',
      lossless:
        'the text of full, sooner: tokens are guessed ahead, copied from earlier text or by shallow exits, and the final exit verifies several at once',
      fast: 'each token leaves at the first exit that is sure enough: where that was not calibrated, the text can be worse',
      full: 'every token runs all layers',
    },
    help: 'How exits are used.',
  }),
  tokenHealing: boolean({
    advanced: true,
    default: true,
    scope: 'window',
    help: 'Take a prompt that ends in blanks or inside a word back to where its last tokens began, and begin the text with what was taken off: tokens do not end where typing stopped.',
  }),
  drafts: integer({
    advanced: true,
    default: 8,
    minimum: 0,
    maximum: 64,
    scope: 'window',
    help: 'Most tokens guessed ahead (drafted) and verified together, in all modes but full; it changes the speed, never the text.',
  }),
  deferred: oneOf({
    advanced: true,
    scope: 'window',
    default: 'auto',
    values: {
      auto: "as calibrated; else the exit's memory, where it has one",
      memory:
        "the exit's memory fills keys and values of the layers left out, at once; exits without one wait as in exact",
      exact: 'those layers run later, with the next token that goes deeper',
    },
    help: 'What becomes, in mode fast, of the layers behind the exit at which a token leaves.',
  }),
  promptExit: notation<number | 'auto' | 'off'>({
    advanced: true,
    scope: 'window',
    default: 'off',
    placeholder: 'N|auto|off',
    expected: 'off, auto or a whole number of at least 1',
    parse: (text) => (text === 'auto' || text === 'off' ? text : /^[1-9]\d{0,3}$/.test(text) ? Number(text) : null),
    help: 'Layer of the exit at which prompts stop in mode fast, all tokens but the first 4 and the last 32: its memory fills the layers behind, so that long prompts are read sooner. auto: as calibrated, else nowhere.',
  }),
  policy: oneOf({
    advanced: true,
    scope: 'window',
    default: 'confidence',
    values: policyHelp,
    help: 'When an exit is sure enough, in mode fast.',
  }),
  threshold: notation<Thresholds>({
    default: 'auto',
    scope: 'window',
    placeholder: 'auto|T|EXIT=T,…',
    expected: thresholdsNotation,
    parse: parseThresholds,
    help: `How sure an exit must be in mode fast, for all or by exit; by confidence, 1 never leaves early and 0 always does. auto: as calibrated, else ${defaultThreshold}.`,
  }),
  patience: integer({
    advanced: true,
    default: 2,
    minimum: 1,
    maximum: 1000,
    scope: 'window',
    help: 'Exits in a row that must agree, under the policy patience.',
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
        'greedy tokens read a copy of the head in 4 bits and compute its best rows again from the head itself, on the CPU, where that is faster',
      exact: 'all of the head is read for every token',
    },
    help: 'How the matrix to the vocabulary is read, with precision fast.',
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
    help: 'Sample among so many most probable tokens; 0 for all.',
  }),
  topP: number({
    advanced: true,
    default: 1,
    minimum: 0,
    above: true,
    maximum: 1,
    scope: 'window',
    help: 'Sample among the most probable tokens that hold this share.',
  }),
  minP: number({
    advanced: true,
    default: 0,
    minimum: 0,
    maximum: 1,
    scope: 'window',
    help: 'Drop tokens less probable than this share of the most probable one.',
  }),
  repetitionPenalty: number({
    advanced: true,
    default: 1,
    minimum: 0,
    above: true,
    maximum: 100,
    scope: 'window',
    help: 'Divides the scores of tokens already there; 1 for none.',
  }),
  stop: list({
    advanced: true,
    default: [],
    notEmpty: true,
    scope: 'window',
    help: 'A text that ends the generation; may be repeated.',
  }),
  stopRepetition: boolean({
    advanced: true,
    default: true,
    scope: 'window',
    help: 'End a text that says the same line, or the same few lines, a third time.',
  }),
  candidates: integer({
    default: 0,
    minimum: 0,
    maximum: mostCandidates,
    scope: 'window',
    help: 'Report so many most probable tokens of every exit, those not needed included; 0 for none.',
  }),
};
