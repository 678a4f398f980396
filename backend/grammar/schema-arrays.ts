/** A schema of an array as an expression. */
import { badGrammar } from './code.ts';
import { optional, repeat, rule, sequence, sequenceOf, type Expression } from './expression.ts';
import { bracketed, comma, listOf } from './json.ts';
import { countIn, listIn, type Define, type Schema } from './schema-parts.ts';

/** An array; `id` tells its rules from those of other arrays, `value` makes the expression for a schema of one of its items. */
export function arrayOf(one: Schema, id: string, value: (schema: unknown) => Expression, define: Define): Expression {
  const first = listIn(one, 'prefixItems') ?? (Array.isArray(one['items']) ? (one['items'] as unknown[]) : []);
  const rest = one[Array.isArray(one['items']) ? 'additionalItems' : 'items'] ?? one['unevaluatedItems'] ?? true;
  const least = countIn(one, 'minItems') ?? 0;
  const most = countIn(one, 'maxItems') ?? null;
  if (most !== null && most < least) throw badGrammar('maxItems is less than minItems');
  const item = rest === false ? null : value(rest);
  if (item === null && least > first.length) throw badGrammar(`a list in it has less than ${least} items`);
  if (first.length === 0) return item === null ? listOf(rule('value'), 0, 0) : listOf(item, least, most);
  if (least < first.length || (most !== null && most < first.length))
    return prefixed({ first, item, least, most }, `array ${id}`, value, define);
  const fixed = first.map((each) => sequence(value(each), rule('blank')));
  const more = item === null ? [] : [repeat(sequence(comma, item, rule('blank')), least - first.length, most === null ? null : most - first.length)]; // prettier-ignore
  return bracketed('[', ']', sequenceOf([...fixed.flatMap((each, i) => (i === 0 ? [each] : [comma, each])), ...more]));
}

interface Items {
  /** Schemas of the first items. */
  readonly first: readonly unknown[];
  /** Any other; null: there is none. */
  readonly item: Expression | null;
  readonly least: number;
  readonly most: number | null;
}

/** Any number of the first items, from `least` on, and further ones after them. */
function prefixed(
  { first, item, least, most }: Items,
  id: string,
  value: (schema: unknown) => Expression,
  define: Define,
): Expression {
  const all = most ?? Infinity;
  const others = (): Expression =>
    repeat(sequence(comma, item ?? sequence(), rule('blank')), Math.max(0, least - first.length - 1), most === null ? null : Math.max(0, most - first.length - 1)); // prettier-ignore
  const tail = (at: number): Expression => {
    const here = (): Expression => {
      if (at >= all) return sequence();
      if (at < first.length) return sequence(...(at > 0 ? [comma] : []), value(first[at]), rule('blank'), tail(at + 1));
      return item === null ? sequence() : sequence(comma, item, rule('blank'), others());
    };
    return define(`${id} ${at}`, () => (at < least ? here() : optional(here())));
  };
  return bracketed('[', ']', tail(0));
}
