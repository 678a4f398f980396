/** Options of completions while you type. They are settings only: no command completes. */
import { boolean, integer, list } from './kinds.ts';

export const completionOptions = {
  enabled: boolean({ default: false, scope: 'window', help: 'Offer completions while you type.' }),
  languages: list({
    default: ['*'],
    notEmpty: true,
    scope: 'window',
    help: 'Ids of the languages in which completions are offered: * is all, !markdown excludes one.',
  }),
  inComments: boolean({ advanced: true, default: true, scope: 'window', help: 'Offer completions within comments.' }),
  debounceMilliseconds: integer({
    advanced: true,
    default: 150,
    minimum: 0,
    maximum: 10_000,
    scope: 'window',
    help: 'Pause in typing after which a completion is requested.',
  }),
  maxMilliseconds: integer({
    default: 500,
    minimum: 50,
    maximum: 60_000,
    scope: 'window',
    help: 'Time limit of a suggestion. At half of it, a suggestion that has a whole line is shown; at all of it, one that has at least a word.',
  }),
  maxTokens: integer({
    default: 64,
    minimum: 1,
    maximum: 1024,
    scope: 'window',
    help: 'Maximum number of tokens of a suggestion.',
  }),
  prefixTokens: integer({
    advanced: true,
    default: 2048,
    minimum: 32,
    maximum: 100_000,
    scope: 'window',
    help: 'Maximum number of tokens of the text before the cursor; 2048 are about 256 lines.',
  }),
  suffixTokens: integer({
    advanced: true,
    default: 512,
    minimum: 0,
    maximum: 100_000,
    scope: 'window',
    help: 'Maximum number of tokens of the text after the cursor; 512 are about 64 lines.',
  }),
  chunkTokens: integer({
    advanced: true,
    default: 2048,
    minimum: 0,
    maximum: 100_000,
    scope: 'window',
    help: 'Maximum number of tokens of other files: 64 lines around each of up to 16 places that you visited; 0 for none.',
  }),
  showExits: boolean({
    default: false,
    scope: 'window',
    help: 'Show the exits of accepted text, as for generated text.',
  }),
};
