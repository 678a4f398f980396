/** Options of completions as one types, once each. They are settings alone: no command completes. */
import { boolean, integer, list } from './options-kinds.ts';

export const completionOptions = {
  enabled: boolean({ default: false, scope: 'window', help: 'Offer completions while you type.' }),
  languages: list({
    default: ['*'],
    notEmpty: true,
    scope: 'window',
    help: 'Languages in which completions are offered, by their ids: * is all, !markdown takes one out.',
  }),
  inComments: boolean({ advanced: true, default: true, scope: 'window', help: 'Offer completions within comments.' }),
  debounceMilliseconds: integer({
    advanced: true,
    default: 150,
    minimum: 0,
    maximum: 10_000,
    scope: 'window',
    help: 'How long typing rests before a completion is asked for.',
  }),
  maxMilliseconds: integer({
    default: 500,
    minimum: 50,
    maximum: 60_000,
    scope: 'window',
    help: 'A suggestion is shown after so long with what is there, after half of it where a line is whole; only its first word is waited for.',
  }),
  maxTokens: integer({
    default: 64,
    minimum: 1,
    maximum: 1024,
    scope: 'window',
    help: 'Most tokens of a suggestion.',
  }),
  prefixTokens: integer({
    advanced: true,
    default: 2048,
    minimum: 32,
    maximum: 100_000,
    scope: 'window',
    help: 'Most tokens of the text before the cursor; 2048 are about 256 lines.',
  }),
  suffixTokens: integer({
    advanced: true,
    default: 512,
    minimum: 0,
    maximum: 100_000,
    scope: 'window',
    help: 'Most tokens of the text after the cursor; 512 are about 64 lines.',
  }),
  chunkTokens: integer({
    advanced: true,
    default: 2048,
    minimum: 0,
    maximum: 100_000,
    scope: 'window',
    help: 'Most tokens of other files: the 64 lines around where one was in them, up to 16 times; 0 for none.',
  }),
  showExits: boolean({
    default: false,
    scope: 'window',
    help: 'Show by which exits accepted text was said, as of generated text.',
  }),
};
