/**
 * The tokenizer's common tokens that an exit's shortlist lacks. The list has the tokens that are frequent in the text an exit was tuned on; in
 * other text it lacks everyday words, and an exit that does not score them is sure of a wrong token. Tokenizers number their tokens by how
 * common they are, so the exit also scores those with low ids, by the model's own rows.
 */
import { rowsOf } from '../../exits/initialise.ts';
import type { ParameterValues } from '../../model/overlay.ts';
import type { Parameters } from '../../model/parameters.ts';
import { modelHead } from './rough-head.ts';

/** Tokens with lower ids are common. More of them cost more than they tell. */
export const commonIds = 16384;

/** What exits with one shortlist score beside it. */
export interface Common {
  readonly tokens: readonly number[];
  /** Of the matrix of their rows, `[tokens, hidden]`. */
  readonly path: string;
}

/** The common tokens of a vocabulary that a list lacks; null if it lacks none. `at`: the place of the list among others. */
export function commonBeside(list: readonly number[], vocabulary: number, at: number): Common | null {
  const listed = new Set(list);
  const common = Array.from({ length: Math.min(commonIds, vocabulary) }, (_, id) => id);
  const tokens = common.filter((id) => !listed.has(id));
  return tokens.length === 0 ? null : { tokens, path: `common.${at}.head` };
}

/** Their rows and biases under that path, read from the model's head whenever they are asked for. */
export function commonRows(parameters: Parameters, { tokens, path }: Common): [name: string, ParameterValues][] {
  const kinds = ['weight', 'bias'].filter((kind) => parameters.has(`${modelHead}.${kind}`));
  return kinds.map((kind) => {
    const source = `${modelHead}.${kind}`;
    const values: ParameterValues = {
      shape: [tokens.length, ...parameters.shape(source).slice(1)],
      get data() {
        return rowsOf(parameters, source, tokens);
      },
    };
    return [`${path}.${kind}`, values];
  });
}
