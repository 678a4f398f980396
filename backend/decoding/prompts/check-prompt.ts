/** Whether a prompt can be read. */
import { userError } from '../../../protocol/errors.ts';
import { plural } from '../../../protocol/plural.ts';
import type { ModelSpec } from '../../model/spec.ts';

/**
 * @throws UserError for a prompt that is empty, leaves no room for a token in the context, or has a token that the model lacks: tokenizers
 * may have more, such as markers of images.
 */
export function checkPrompt(
  prompt: readonly number[],
  { contextLength, vocabulary }: Pick<ModelSpec, 'contextLength' | 'vocabulary'>,
  name = 'The prompt',
): void {
  if (prompt.length === 0) throw userError('bad-argument', `${name} is empty.`, 'Give at least one token of text.');
  if (prompt.length >= contextLength) {
    const sizes = `${plural(prompt.length, 'token')}, but the model sees ${contextLength}`;
    throw userError('bad-argument', `${name} has ${sizes}.`, 'Shorten it.');
  }
  const unknown = prompt.find((id) => id >= vocabulary);
  if (unknown !== undefined) {
    const sizes = `token ${unknown}, but the model has ${vocabulary}`;
    throw userError('bad-argument', `${name} has ${sizes}.`, 'Leave it out.');
  }
}
