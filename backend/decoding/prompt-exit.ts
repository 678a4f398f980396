/** Prompts that stop at an exit: all tokens but the first and the last, of which its memory fills what the layers behind would have kept. */
import { userError } from '../../protocol/errors.ts';
import { firstTokens } from '../exits/memory.ts';
import type { StagedModel } from '../runtime/staged-model.ts';

/** Tokens of a prompt that stop at exit k: `[from, to)`. */
export interface Stopping {
  readonly k: number;
  readonly from: number;
  readonly to: number;
}

/** Most of what is said next rests on the last tokens, so they are always computed in full. */
export const lastTokens = 32;
/** Fewer would save no pass: those of a prompt are of 64 tokens. */
const fewestTokens = 64;

/**
 * What of a prompt of so many tokens stops at the exit at a layer; null where nobody asks for it (`layer` null), or it is short.
 * @throws UserError where no exit there has a memory.
 */
export function stoppingAt(
  { exits }: Pick<StagedModel, 'exits'>,
  layer: number | null | undefined,
  promptTokens: number,
): Stopping | null {
  if (layer === null || layer === undefined) return null;
  const remembering = exits.filter(({ remembers }) => remembers);
  const k = exits.findIndex((exit) => exit.remembers && exit.layer === layer);
  if (k < 0) {
    const ids = remembering.map(({ id }) => id).join(', ');
    throw userError(
      'bad-argument',
      `There is no exit at layer ${layer} with a memory, which a prompt that stops there needs.`,
      ids === '' ? 'tune with --initialise fit gives exits one.' : `Those with one are ${ids}.`,
    );
  }
  const to = promptTokens - lastTokens;
  return to - firstTokens >= fewestTokens ? { k, from: firstTokens, to } : null;
}
