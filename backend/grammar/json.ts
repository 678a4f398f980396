/** The parts of JSON as expressions, bounded, so that no text continues with blanks or digits without end. */
import { anyOf, choice, optional, repeat, rule, sequence, text, type Expression } from './expression.ts';

export const comma: Expression = sequence(text(','), rule('blank'));

/** Names of the rules below, which no schema's definition has. */
export const jsonRules: ReadonlyMap<string, Expression> = new Map<string, Expression>([
  // At most a line end or two, and the indent behind it.
  ['blank', optional(choice(text(' '), sequence(repeat(text('\n'), 1, 2), repeat(anyOf(' ', '\t'), 0, 20))))],
  [
    'character',
    choice(
      { kind: 'characters', ranges: [[0, 0x1f], [0x22, 0x22], [0x5c, 0x5c], [0x7f, 0x7f]], isNegated: true }, // prettier-ignore
      sequence(
        text('\\'),
        choice(anyOf('"', '\\', '/', 'b', 'f', 'n', 'r', 't'), sequence(text('u'), repeat(hexDigit(), 4, 4))),
      ),
    ),
  ],
  ['string', sequence(text('"'), repeat(rule('character'), 0, null), text('"'))],
  ['integer', sequence(optional(text('-')), natural())],
  ['number', sequence(rule('integer'), optional(fraction()), optional(exponent()))],
  ['boolean', choice(text('true'), text('false'))],
  ['null', text('null')],
  ['array', listOf(rule('value'))],
  ['object', bracketed('{', '}', separated(sequence(rule('string'), colon(), rule('value')), 0, null))],
  ['value', choice(rule('object'), rule('array'), rule('string'), rule('number'), rule('boolean'), rule('null'))],
]);

function hexDigit(): Expression {
  return anyOf('09', 'af', 'AF');
}

/** A whole number that is not negative. */
export function natural(): Expression {
  return choice(text('0'), sequence(anyOf('19'), repeat(anyOf('09'), 0, 15)));
}

export function fraction(): Expression {
  return sequence(text('.'), repeat(anyOf('09'), 1, 16));
}

function exponent(): Expression {
  return sequence(anyOf('e', 'E'), optional(anyOf('+', '-')), repeat(anyOf('09'), 1, 3));
}

export function colon(): Expression {
  return sequence(text(':'), rule('blank'));
}

export function bracketed(open: string, close: string, inner: Expression): Expression {
  return sequence(text(open), rule('blank'), inner, text(close));
}

/** A number of items with commas between, each with the blanks after it; `most` null: any number. */
export function separated(one: Expression, least: number, most: number | null): Expression {
  const each = sequence(one, rule('blank'));
  if (most === 0) return sequence();
  const more = repeat(sequence(comma, each), Math.max(0, least - 1), most === null ? null : most - 1);
  const some = sequence(each, more);
  return least === 0 ? optional(some) : some;
}

export function listOf(one: Expression, least = 0, most: number | null = null): Expression {
  return bracketed('[', ']', separated(one, least, most));
}

/** A value as it is written without blanks. */
export const literal = (value: unknown): Expression => text(JSON.stringify(value) ?? 'null');
