/** Which model and exits a command works with if some are not named: the exits' own model, else what was used last in this folder. */
import { checkpointOptions, shippedModel } from '../../protocol/options-groups.ts';
import type { OptionTable } from '../../protocol/options.ts';
import { shown } from '../../protocol/shown.ts';
import { modelOfExits } from '../recipes/exits-model.ts';
import { lastUsed } from '../recipes/last-used.ts';
import { resolveModel } from '../worker/shipped.ts';
import type { Context } from './context.ts';
import { shorter } from './naming.ts';

type Given = Readonly<Record<string, unknown>>;

/**
 * Values for `model` and `exits` where `given` leaves them open; what is not the default is said.
 * @throws UserError if the exits that are named are none, or their model is nowhere.
 */
export async function chosenFiles(table: OptionTable, given: Given, { terminal, signal }: Context): Promise<Given> {
  // A run that goes on knows its model.
  if (!('model' in table) || given['model'] !== undefined || given['resume'] === true) return {};
  const { err } = terminal;
  const say = (sentence: string): void => err.write(`${err.colours.dim(shown(sentence))}\n`);
  const takesExits = table['exits'] === checkpointOptions.exits;
  const exits = takesExits ? given['exits'] : undefined;
  if (typeof exits === 'string') {
    const model = await modelOfExits(exits, signal);
    if (model !== resolveModel(shippedModel)) say(`Model ${shorter(model)}, to which these exits belong.`);
    return { model };
  }
  const last = lastUsed();
  if (last === null) return {};
  const model = `model ${shorter(last.model)}`;
  if (!takesExits || exits === null || last.exits === null) {
    if (last.model === resolveModel(shippedModel)) return {};
    say(`With ${model}, as last here; --model names another.`);
    return { model: last.model };
  }
  say(`With ${model} and exits ${shorter(last.exits)}, as last here; --model and --exits name others.`);
  return { model: last.model, exits: last.exits };
}
