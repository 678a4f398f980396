/** `enum` and `const` of a schema as an expression. */
import { badGrammar } from './code.ts';
import { choiceOf, nothing, sequence, text, type Expression } from './expression.ts';
import { anyNumber, boundsOf, countIn, listIn, typesOf, type Define, type Schema } from './schema-parts.ts';
import { formatOf } from './schema-strings.ts';

export const isLiteral = (one: Schema): boolean => 'const' in one || listIn(one, 'enum') !== undefined;

/** One of the values that fit the schema's other keywords; `id` tells its rules from those of other schemas. */
export function literalOf(one: Schema, id: string, define: Define): Expression {
  if (listIn(one, 'enum')?.length === 0) throw badGrammar('enum is empty');
  const words = wordsOf(one);
  if (words.length === 0) throw badGrammar('no value of enum or const fits the other keywords beside it');
  return oneWord(words, `word ${id}`, define);
}

/** What may be written, each once. */
export function wordsOf(one: Schema): string[] {
  const listed = listIn(one, 'enum');
  const written = (values: readonly unknown[]): string[] => values.map((value) => JSON.stringify(value));
  const values = 'const' in one ? [one['const']] : (listed ?? []);
  const inList = 'const' in one && listed !== undefined ? new Set(written(listed)) : null;
  const fitting = written(values.filter((value) => fits(value, one)));
  return [...new Set(fitting.filter((word) => inList?.has(word) ?? true))];
}

function fits(value: unknown, one: Schema): boolean {
  const types = typesOf(one);
  if (types !== undefined && !types.some((type) => isOfType(value, type))) return false;
  if (typeof value === 'number') {
    const { least, most, isOpenBelow, isOpenAbove } = boundsOf(one) ?? anyNumber;
    return (isOpenBelow ? value > least : value >= least) && (isOpenAbove ? value < most : value <= most);
  }
  if (typeof value === 'string') {
    refuse(one, ['pattern']);
    const length = [...value].length;
    if (length < (countIn(one, 'minLength') ?? 0) || length > (countIn(one, 'maxLength') ?? Infinity)) return false;
    const format = formatOf(one);
    return format === undefined || new RegExp(format.pattern).test(value);
  }
  if (Array.isArray(value)) refuse(one, ['items', 'prefixItems', 'minItems', 'maxItems', 'unevaluatedItems']);
  else if (value !== null && typeof value === 'object')
    refuse(one, ['properties', 'required', 'additionalProperties', 'unevaluatedProperties']);
  return true;
}

function refuse(one: Schema, names: readonly string[]): void {
  for (const name of names)
    if (one[name] !== undefined)
      throw badGrammar(`no grammar keeps ${name} beside enum or const: leave it out of the schema`);
}

function isOfType(value: unknown, type: unknown): boolean {
  switch (type) {
    case 'null':
      return value === null;
    case 'array':
      return Array.isArray(value);
    case 'object':
      return typeof value === 'object' && value !== null && !Array.isArray(value);
    case 'integer':
      return Number.isInteger(value);
    default:
      return typeof value === type;
  }
}

/** So few texts may simply be alternatives. */
const fewWords = 16;

/** One of some texts. Many share their beginnings, as only so many alternatives may be open at once. */
function oneWord(all: readonly string[], id: string, define: Define): Expression {
  let rules = 0;
  const among = (words: readonly string[]): Expression => {
    if (words.length <= fewWords) return choiceOf(words.map(text));
    const groups = new Map<string, string[]>();
    for (const word of words) {
      const first = word === '' ? '' : String.fromCodePoint(word.codePointAt(0)!);
      const rest = word.slice(first.length);
      const group = groups.get(first);
      if (group === undefined) groups.set(first, [rest]);
      else group.push(rest);
    }
    return choiceOf([...groups].map(([first, rests]) => (first === '' ? nothing : beginning(first, rests))));
  };
  const beginning = (first: string, rests: readonly string[]): Expression => {
    const rest = define(`${id} ${rules++}`, () => among(rests));
    return sequence(text(first), rest);
  };
  return among(all);
}
