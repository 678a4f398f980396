/** A completion as the editor requests it, and its result. Knows no transport and no recipe. */
import type { Around } from './suggestion.ts';
import { count, list, record, text, type Shape } from './shapes.ts';
import type { Trace } from './exittrace.ts';
import type { GenerateOptions } from './options/options.ts';

/** The gap to fill, and text of other files; what changes least comes first. Lines end with \n. */
export interface Gap extends Around {
  repository: string;
  file: string;
  chunks: { file: string; text: string }[];
}

export interface CompletionLimits {
  /** Most tokens of each part of the prompt. */
  prefixTokens: number;
  suffixTokens: number;
  chunkTokens: number;
  /** Most tokens of a suggestion. */
  maxTokens: number;
  /** After this time only as many tokens are written as are needed to have something to show. */
  maxMilliseconds: number;
  /** Most suggestions; 0: only the prompt is computed ahead. */
  suggestions: number;
}

/** What the recipe is given: how tokens are decided, beside the place and its limits. */
export interface CompleteOptions {
  /** Path of the model. */
  readonly model: string;
  readonly generate: GenerateOptions;
  readonly gap: Gap;
  readonly limits: CompletionLimits;
}

export interface CompletionResult {
  /** The likeliest first. They may still repeat text around the gap. */
  suggestions: Trace[];
  /** Whether the model reads the text after the gap; otherwise it has no tokens for filling in. */
  fills: boolean;
  promptTokens: number;
  /** Of these, how many did not have to be read. */
  rememberedTokens: number;
}

export const gapShape: Shape<Gap> = record({
  prefix: text,
  suffix: text,
  repository: text,
  file: text,
  chunks: list(record({ file: text, text })),
});

export const limitsShape: Shape<CompletionLimits> = record({
  prefixTokens: count,
  suffixTokens: count,
  chunkTokens: count,
  maxTokens: count,
  maxMilliseconds: count,
  suggestions: count,
});
