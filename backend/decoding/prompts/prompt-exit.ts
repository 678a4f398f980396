/**
 * Prompts that stop at an exit: for all tokens but the first and the last third, the exit's memory fills the keys and values of the later
 * layers.
 */
import { userError } from '../../../protocol/errors.ts';
import { tileTokens } from '../../runtime/ggml/tiles.ts';
import type { StagedModel } from '../../runtime/staged-model.ts';

/** Tokens of a prompt that stop at exit k: `[from, to)`. */
export interface Stopping {
  readonly k: number;
  readonly from: number;
  readonly to: number;
}

/**
 * Share of a prompt, at its end, that is always computed in full, since the next tokens depend most on it: a shallow exit with a third loses
 * less than a deeper one with the last few tokens, and saves more (docs/lab.md).
 */
const lastShare = 1 / 3;
/** Fewest tokens at either end that are computed in full: much attention rests on the first ones, and a pass of a prompt takes as long for fewer. */
export const fewestInFull = tileTokens;

/** Last tokens of a prompt that are computed in full. */
export const lastTokens = (promptTokens: number): number => Math.max(fewestInFull, Math.ceil(promptTokens * lastShare));

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
  const [from, to] = [fewestInFull, promptTokens - lastTokens(promptTokens)];
  // Fewer would save no pass.
  return to - from >= tileTokens ? { k, from, to } : null;
}
