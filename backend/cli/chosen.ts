/** The model and exits of a command that does not name both: the exits' own model, else those last used in this folder. */
import path from 'node:path';
import { checkpointOptions, shippedModel } from '../../protocol/options/groups.ts';
import type { OptionTable } from '../../protocol/options/options.ts';
import { shown } from '../../protocol/shown.ts';
import { modelOfExits } from '../recipes/opening/exits-model.ts';
import { lastUsed } from '../recipes/at-hand/last-used.ts';
import { resolveModel } from '../recipes/at-hand/shipped-model.ts';
import type { Context } from './context.ts';
import { shorter } from './draw/naming.ts';

type Given = Readonly<Record<string, unknown>>;

/**
 * Values for `model` and `exits` if `given` lacks them; values other than the default are reported.
 * @throws UserError if the named exits do not exist, or their model is not found.
 */
export async function chosenFiles(table: OptionTable, given: Given, { terminal, signal }: Context): Promise<Given> {
  if (!('model' in table)) return {};
  // A resumed run knows its model, and so do exits whose model is trained further.
  if (given['resume'] === true || typeof given['continuePretraining'] === 'string') return {};
  const { err } = terminal;
  const say = (sentence: string): void => err.write(`${err.colours.dim(shown(sentence))}\n`);
  const takesExits = table['exits'] === checkpointOptions.exits;
  const exits = takesExits ? given['exits'] : undefined;
  if (given['model'] !== undefined) return takesExits && exits === undefined ? lastExitsOf(given['model'], say) : {};
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

/** The exits last used in this folder, if that was with this model. */
function lastExitsOf(model: unknown, say: (sentence: string) => void): Given {
  const last = lastUsed();
  if (typeof model !== 'string' || last === null || last.exits === null) return {};
  const isSame = model === last.model || path.resolve(model) === last.model || resolveModel(model) === last.model;
  if (!isSame) return {};
  say(`With exits ${shorter(last.exits)}, as last here with this model; --exits names others, or none.`);
  return { exits: last.exits };
}
