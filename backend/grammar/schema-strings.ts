/** A schema of a string as an expression for the text between its quotation marks. */
import { badGrammar } from './code.ts';
import { repeat, rule, type Expression } from './expression.ts';
import { inString, patternExpression } from './pattern.ts';
import { countIn, type Schema } from './schema-parts.ts';

/** What counts as one character: half of a surrogate pair does not. */
const counted = inString([[0, 0x10ffff]]);

interface Format {
  readonly pattern: string;
  /** Lengths of the texts that fit. */
  readonly shortest: number;
  readonly longest: number;
}

const day = '((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))';
const leapYear = '([0-9]{2}(0[48]|[2468][048]|[13579][26])|([02468][048]|[13579][26])00)';
const date = `([0-9]{4}-${day}|${leapYear}-02-29)`;
const time = '([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,6})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])';
const formats: ReadonlyMap<unknown, Format> = new Map([
  ['date', { pattern: `^${date}$`, shortest: 10, longest: 10 }],
  ['time', { pattern: `^${time}$`, shortest: 9, longest: 21 }],
  ['date-time', { pattern: `^${date}T${time}$`, shortest: 20, longest: 32 }],
  ['uuid', { pattern: '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$', shortest: 36, longest: 36 }],
]);

/** Undefined: none that is kept. */
export const formatOf = (one: Schema): Format | undefined => formats.get(one['format']);

export function stringOf(one: Schema): Expression {
  const { pattern } = one;
  const least = countIn(one, 'minLength') ?? 0;
  const most = countIn(one, 'maxLength') ?? Infinity;
  if (most < least) throw badGrammar('maxLength is less than minLength');
  const format = formatOf(one);
  // A format beside a pattern is an annotation: many tools write both.
  if (typeof pattern === 'string') {
    if (least > 0 || most < Infinity)
      throw badGrammar('no grammar keeps a pattern and a length at once: say the length in the pattern');
    return patternExpression(pattern);
  }
  if (format !== undefined) {
    if (least > format.shortest || most < format.longest)
      throw badGrammar('no grammar keeps a format and a length at once: leave the length out');
    return patternExpression(format.pattern);
  }
  if (least === 0 && most === Infinity) return repeat(rule('character'), 0, null);
  return repeat(counted, least, most === Infinity ? null : most);
}
