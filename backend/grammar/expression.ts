/** A grammar as it is written: named rules of expressions over characters. Knows neither GBNF nor JSON, nor bytes. */
export type Expression =
  | { readonly kind: 'text'; readonly text: string }
  /** One character of these ranges of code points, or, if `isNegated`, of none of them. */
  | { readonly kind: 'characters'; readonly ranges: readonly Range[]; readonly isNegated: boolean }
  | { readonly kind: 'sequence'; readonly parts: readonly Expression[] }
  | { readonly kind: 'choice'; readonly options: readonly Expression[] }
  /** `most` null: however many. */
  | { readonly kind: 'repeat'; readonly part: Expression; readonly least: number; readonly most: number | null }
  | { readonly kind: 'rule'; readonly name: string };

/** From the first code point to the last, both included. */
export type Range = readonly [first: number, last: number];

export interface Rules {
  readonly root: string;
  readonly rules: ReadonlyMap<string, Expression>;
}

export const text = (of: string): Expression => ({ kind: 'text', text: of });
export const sequence = (...parts: readonly Expression[]): Expression => sequenceOf(parts);
export const choice = (...options: readonly Expression[]): Expression => choiceOf(options);
/** For lists that may be too long to be arguments. */
export const sequenceOf = (parts: readonly Expression[]): Expression => ({ kind: 'sequence', parts });
export const choiceOf = (options: readonly Expression[]): Expression => ({ kind: 'choice', options });
export const rule = (name: string): Expression => ({ kind: 'rule', name });
export const repeat = (part: Expression, least: number, most: number | null): Expression => ({
  kind: 'repeat',
  part,
  least,
  most,
});
export const optional = (part: Expression): Expression => repeat(part, 0, 1);
/** Characters of a text, and ranges of two of them: `anyOf('_', 'az')`. */
export const anyOf = (...given: readonly string[]): Expression => ({
  kind: 'characters',
  ranges: given.map((each): Range => [each.codePointAt(0)!, each.codePointAt(each.length - 1)!]),
  isNegated: false,
});
export const nothing: Expression = sequence();
