/** Whether a prompt can be read. */
import { userError } from '../../protocol/errors.ts';
import { plural } from '../../protocol/plural.ts';

/** @throws UserError for a prompt that is empty, or leaves no room for a token in the context. */
export function checkPrompt(prompt: readonly number[], contextLength: number, name = 'The prompt'): void {
  if (prompt.length === 0) throw userError('bad-argument', `${name} is empty.`, 'Give at least one token of text.');
  if (prompt.length >= contextLength) {
    const sizes = `${plural(prompt.length, 'token')}, but the model sees ${contextLength}`;
    throw userError('bad-argument', `${name} has ${sizes}.`, 'Shorten it.');
  }
}
