/**
 * Prompts that stop at an exit: for all tokens but the first and the last ones, the exit's memory fills the keys and values of the later
 * layers.
 */
import { userError } from '../../protocol/errors.ts';
import { firstTokens } from '../exits/memory.ts';
import type { StagedModel } from '../runtime/staged-model.ts';

/** Tokens of a prompt that stop at exit k: `[from, to)`. */
export interface Stopping {
  readonly k: number;
  readonly from: number;
  readonly to: number;
}

/** The next tokens depend mostly on the last tokens of the prompt, so these are always computed in full. */
export const lastTokens = 32;
/** Fewer would save no pass: those of a prompt are of 64 tokens. */
const fewestTokens = 64;

/**
 * Which tokens of a prompt of this length stop at the exit at a layer; null if none was requested (`layer` null) or the prompt is short.
 * @throws UserError if no exit there has a memory.
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
