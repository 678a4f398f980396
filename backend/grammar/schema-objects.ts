/** A schema of an object as an expression: its properties in the order of the schema, then others if it allows any. */
import { badGrammar } from './code.ts';
import { choice, repeat, rule, sequence, text, type Expression } from './expression.ts';
import { bracketed, colon, comma, literal, separated } from './json.ts';
import { listIn, recordIn, type Define, type Schema } from './schema-parts.ts';

/** Each could come next, and only so many alternatives may be open at once. */
const mostOptional = 900;
/** Of the names that another name must not be: each is a rule. */
const mostCharacters = 20_000;

/** An object; `id` tells its rules from those of other objects, `value` makes the expression for a schema of one property. */
export function objectOf(one: Schema, id: string, value: (schema: unknown) => Expression, define: Define): Expression {
  const properties = recordIn(one, 'properties') ?? {};
  const needed = (listIn(one, 'required') ?? []).filter((name): name is string => typeof name === 'string');
  const isNeeded = new Set(needed);
  const all = [...new Set([...Object.keys(properties), ...needed])];
  const rest = one['additionalProperties'] ?? one['unevaluatedProperties'];
  const others = rest ?? all.length === 0;
  if (all.length === 0 && others === true) return rule('object');
  const schemaOf = (name: string): unknown => (Object.hasOwn(properties, name) ? properties[name] : (rest ?? true));
  const names = all.filter((name) => isNeeded.has(name) || schemaOf(name) !== false);
  if (names.length - isNeeded.size > mostOptional)
    throw badGrammar(`an object in it has more than ${mostOptional} properties that may be missing`);
  const other =
    others === false
      ? null
      : sequence(text('"'), nameBeside(all, `other ${id}`, define), text('"'), colon(), value(others));
  const pairs = names.map((name) => {
    if (schemaOf(name) === false)
      throw badGrammar(`nothing fits ${JSON.stringify(name.slice(0, 100))}, which is required`);
    return sequence(literal(name), colon(), value(schemaOf(name)));
  });
  /** The properties from one on, with or without one before them. */
  const from = (at: number, isFirst: boolean): Expression => {
    if (at === names.length) {
      if (other === null) return sequence();
      return isFirst ? separated(other, 0, null) : repeat(sequence(comma, other, rule('blank')), 0, null);
    }
    return define(`object ${id} ${at} ${isFirst}`, () => {
      const here = sequence(...(isFirst ? [] : [comma]), pairs[at]!, rule('blank'), from(at + 1, false));
      return isNeeded.has(names[at]!) ? here : choice(here, from(at + 1, isFirst));
    });
  };
  return bracketed('{', '}', from(0, true));
}

/** A name that is none of these. */
function nameBeside(names: readonly string[], id: string, define: Define): Expression {
  if (names.reduce((sum, name) => sum + name.length, 0) > mostCharacters)
    throw badGrammar(`an object in it has names of more than ${mostCharacters} characters beside additionalProperties`);
  let rules = 0;
  const tail = (left: readonly string[]): Expression => {
    const firsts = new Set(
      left.filter((name) => name !== '').map((name) => String.fromCodePoint(name.codePointAt(0)!)),
    );
    const others = { kind: 'characters' as const, isNegated: true, ranges: [...[...firsts].map((c) => c.codePointAt(0)!), 0x22, 0x5c].map((c): [number, number] => [c, c]).concat([[0, 0x1f]]) }; // prettier-ignore
    const options = [
      sequence(others, repeat(plainCharacter, 0, null)),
      ...[...firsts]
        .filter((c) => c >= ' ' && c !== '"' && c !== '\\')
        .map((c) => {
          const within = left.filter((name) => name.startsWith(c)).map((name) => name.slice(c.length));
          const rest = define(`${id} ${rules++}`, () => tail(within));
          return sequence(text(c), rest);
        }),
    ];
    return choice(...options, ...(left.includes('') ? [] : [sequence()]));
  };
  return tail(names);
}

/** A character that is written as itself: an escape could spell one of the names in another way. */
const plainCharacter = { kind: 'characters' as const, isNegated: true, ranges: [[0, 0x1f], [0x22, 0x22], [0x5c, 0x5c]] as [number, number][] }; // prettier-ignore
