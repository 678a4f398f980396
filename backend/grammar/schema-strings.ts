/** A schema of a string as an expression for the text between its quotation marks. */
import { badGrammar } from './code.ts';
import { repeat, rule, type Expression } from './expression.ts';
import { inString, patternExpression } from './pattern.ts';
import { countIn, type Schema } from './schema-parts.ts';

/** What counts as one character: half of a surrogate pair does not. */
const counted = inString([[0, 0x10ffff]]);

const formats: Readonly<Record<string, string>> = {
  date: '((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))',
  time: '([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,6})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])',
  uuid: '[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}',
};
const dated = `[0-9]{4}-${formats['date']}`;
const formatPatterns: Readonly<Record<string, string>> = {
  date: `^${dated}$`,
  time: `^${formats['time']}$`,
  'date-time': `^${dated}T${formats['time']}$`,
  uuid: `^${formats['uuid']}$`,
};

export function stringOf(one: Schema): Expression {
  const { pattern, format } = one;
  const least = countIn(one, 'minLength') ?? 0;
  const most = countIn(one, 'maxLength') ?? null;
  const source =
    typeof pattern === 'string' ? pattern : typeof format === 'string' ? formatPatterns[format] : undefined;
  if (source !== undefined) {
    if (typeof pattern === 'string' && (least > 0 || most !== null))
      throw badGrammar('no grammar keeps a pattern and a length at once: say the length in the pattern');
    return patternExpression(source);
  }
  if (least === 0 && most === null) return repeat(rule('character'), 0, null);
  if (most !== null && most < least) throw badGrammar('maxLength is less than minLength');
  return repeat(counted, least, most);
}
