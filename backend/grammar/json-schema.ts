/**
 * A JSON schema as rules, whose texts fit the schema. Keywords that a grammar cannot express (`not`, `uniqueItems` …) are refused,
 * annotations (`title`, most formats) are ignored. Properties come in the order of the schema. An object with named properties has no
 * others unless `additionalProperties` says so, as in llama.cpp.
 */
import { badGrammar } from './code.ts';
import { choice, repeat, rule, sequence, text, type Expression, type Rules } from './expression.ts';
import { bracketed, colon, comma, jsonRules, listOf, separated } from './json.ts';
import { integerBetween, numberBetween } from './numbers.ts';
import { inString, patternExpression } from './pattern.ts';
import {
  asSchema,
  boundsOf,
  countIn,
  decode,
  inferred,
  listIn,
  merged,
  recordIn,
  without,
  type Schema,
} from './schema-parts.ts';

/** Within schemas and references within them. */
const mostSchemas = 20_000;
const mostDepth = 100;
const mostTogether = 1_000;

/** Keywords that cannot be expressed, with the value that has no effect. */
const impossible: Readonly<Record<string, (value: unknown) => boolean>> = {
  ...Object.fromEntries(
    ['not', 'if', 'patternProperties', 'propertyNames', 'dependentRequired', 'dependentSchemas', 'contains', 'multipleOf', '$dynamicRef'].map((name) => [name, () => false]), // prettier-ignore
  ),
  multipleOf: (value) => value === 1,
  uniqueItems: (value) => value === false,
  minProperties: (value) => value === 0,
  maxProperties: () => false,
  unevaluatedProperties: (value) => typeof value === 'boolean',
  unevaluatedItems: (value) => typeof value === 'boolean',
};

/** `around`: the text before and after the value. @throws UserError for a schema that no grammar can express. */
export function schemaRules(schema: unknown, around: readonly [before: string, behind: string] = ['', '']): Rules {
  const rules = new Map(jsonRules);
  let count = 0;

  /** A rule that may name itself. */
  const define = (name: string, make: () => Expression): Expression => {
    if (!rules.has(name)) {
      rules.set(name, text(''));
      rules.set(name, make());
    }
    return rule(name);
  };
  const referred = (reference: unknown): { schema: unknown; name: string } => {
    if (typeof reference !== 'string' || !/^#(\/|$)/.test(reference))
      throw badGrammar(`$ref ${JSON.stringify(reference)?.slice(0, 100)} does not lead into the schema itself`);
    const keys = reference
      .split('/')
      .slice(1)
      .map((key) => decode(key).replaceAll('~1', '/').replaceAll('~0', '~'));
    const found = keys.reduce<unknown>(
      (at, key) => (typeof at === 'object' && at !== null && Object.hasOwn(at, key) ? (at as Schema)[key] : undefined),
      schema,
    );
    if (found === undefined) throw badGrammar(`$ref ${reference.slice(0, 100)} leads nowhere`);
    return { schema: found, name: `ref ${reference}` };
  };
  /** A schema in its place; references at its top are followed. */
  const resolved = (given: unknown, depth: number): Schema => {
    const one = asSchema(given);
    if (depth > mostDepth) throw badGrammar('its references go round');
    return '$ref' in one ? { ...resolved(referred(one['$ref']).schema, depth + 1), ...without(one, ['$ref']) } : one;
  };

  const value = (given: unknown, depth: number): Expression => {
    if (++count > mostSchemas) throw badGrammar(`it has more than ${mostSchemas} schemas`);
    if (depth > mostDepth) throw badGrammar(`its schemas are nested deeper than ${mostDepth}`);
    if (given === true) return rule('value');
    const one = asSchema(given);
    for (const [name, isHarmless] of Object.entries(impossible))
      if (one[name] !== undefined && !isHarmless(one[name]))
        throw badGrammar(`no grammar keeps ${name}: leave it out of the schema`);
    if ('$ref' in one) {
      const { schema: target, name } = referred(one['$ref']);
      return define(name, () => value(target, 0));
    }
    if ('const' in one) return literal(one['const']);
    if (Array.isArray(one['enum'])) return among(one['enum'].map(literal), 'enum');
    for (const key of ['anyOf', 'oneOf', 'allOf'])
      if ((listIn(one, key)?.length ?? 0) > mostTogether)
        throw badGrammar(`${key} has more than ${mostTogether} schemas`);
    for (const key of ['anyOf', 'oneOf'])
      if (Array.isArray(one[key])) {
        const rest = without(one, [key]);
        const isBare = !Object.keys(rest).some((name) => structural.has(name));
        return among(one[key].map((each: unknown) => value(isBare ? each : merged([rest, resolved(each, 0)]), depth + 1)), key); // prettier-ignore
      }
    if (Array.isArray(one['allOf']))
      return value(
        merged([without(one, ['allOf']), ...one['allOf'].map((each: unknown) => resolved(each, 0))]),
        depth + 1,
      );
    const { type = inferred(one) } = one;
    if (Array.isArray(type))
      return among(
        type.map((each: unknown) => ofType(each, one, depth)),
        'type',
      );
    return ofType(type, one, depth);
  };

  const ofType = (type: unknown, one: Schema, depth: number): Expression => {
    switch (type) {
      case undefined:
        return rule('value');
      case 'null':
      case 'boolean':
        return rule(type);
      case 'integer':
      case 'number': {
        const bounds = boundsOf(one);
        if (bounds === null) return rule(type);
        return type === 'integer' ? integerBetween(bounds) : numberBetween(bounds);
      }
      case 'string':
        return sequence(text('"'), stringOf(one), text('"'));
      case 'array':
        return arrayOf(one, depth);
      case 'object':
        return objectOf(one, depth);
      default:
        throw badGrammar(`there is no type ${JSON.stringify(type)?.slice(0, 100)}`);
    }
  };

  const arrayOf = (one: Schema, depth: number): Expression => {
    const first = listIn(one, 'prefixItems') ?? (Array.isArray(one['items']) ? (one['items'] as unknown[]) : []);
    const rest = Array.isArray(one['items']) ? (one['additionalItems'] ?? true) : (one['items'] ?? true);
    const least = countIn(one, 'minItems') ?? 0;
    const most = countIn(one, 'maxItems') ?? null;
    if (most !== null && most < least) throw badGrammar('maxItems is less than minItems');
    const item = rest === false ? null : value(rest, depth + 1);
    if (first.length === 0) return item === null ? listOf(rule('value'), 0, 0) : listOf(item, least, most);
    if (least < first.length || (most !== null && most < first.length)) return prefixed();
    const fixed = first.map((each) => sequence(value(each, depth + 1), rule('blank')));
    const more = item === null ? [] : [repeat(sequence(comma, item, rule('blank')), least - first.length, most === null ? null : most - first.length)]; // prettier-ignore
    return bracketed('[', ']', sequence(...fixed.flatMap((each, i) => (i === 0 ? [each] : [comma, each])), ...more));

    /** Any number of the first ones, from `least` on. */
    function prefixed(): Expression {
      const all = most ?? Infinity;
      const tail = (at: number): Expression => {
        const go = (): Expression => {
          if (at >= all) return sequence();
          if (at < first.length)
            return sequence(...(at > 0 ? [comma] : []), value(first[at], depth + 1), rule('blank'), tail(at + 1));
          if (item === null) return sequence();
          return sequence(comma, item, rule('blank'), tail(Infinity));
        };
        if (at === Infinity)
          return repeat(sequence(comma, item ?? sequence(), rule('blank')), Math.max(0, least - first.length - 1), most === null ? null : Math.max(0, most - first.length - 1)); // prettier-ignore
        return at < least ? go() : repeat(go(), 0, 1);
      };
      return bracketed('[', ']', tail(0));
    }
  };

  let objects = 0;
  const objectOf = (one: Schema, depth: number): Expression => {
    const properties = recordIn(one, 'properties') ?? {};
    const needed = (listIn(one, 'required') ?? []).filter((name): name is string => typeof name === 'string');
    const isNeeded = new Set(needed);
    const names = [...new Set([...Object.keys(properties), ...needed])];
    const others = one['additionalProperties'] ?? names.length === 0;
    if (names.length === 0 && others === true) return rule('object');
    const id = objects++;
    const other =
      others === false
        ? null
        : sequence(text('"'), nameBeside(names, `other ${id}`), text('"'), colon(), value(others, depth + 1));
    const pairs = names.map((name) =>
      sequence(literal(name), colon(), value(Object.hasOwn(properties, name) ? properties[name] : true, depth + 1)),
    );
    /** Properties from one on, behind another or not. */
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
  };

  /** A name that is none of these. */
  const nameBeside = (names: readonly string[], id: string): Expression => {
    const tail = (prefix: string, left: readonly string[]): Expression => {
      const firsts = new Set(left.filter((name) => name !== '').map((name) => [...name][0]!));
      const others = { kind: 'characters' as const, isNegated: true, ranges: [...[...firsts].map((c) => c.codePointAt(0)!), 0x22, 0x5c].map((c): [number, number] => [c, c]).concat([[0, 0x1f]]) }; // prettier-ignore
      const options = [
        sequence(others, repeat(plainCharacter, 0, null)),
        ...[...firsts]
          .filter((c) => c >= ' ' && c !== '"' && c !== '\\')
          .map(
            (c) =>
          sequence(text(c), define(`${id} ${prefix}${c}`, () => tail(prefix + c, left.filter((name) => name.startsWith(c)).map((name) => name.slice(c.length))))), // prettier-ignore
          ),
      ];
      return choice(...options, ...(left.includes('') ? [] : [sequence()]));
    };
    return tail('', names);
  };

  const whole = value(schema, 0);
  rules.set('root', sequence(text(around[0]), whole, text(around[1])));
  return { root: 'root', rules };
}

/** Any object. */
export const jsonObjectRules: Rules = { root: 'object', rules: jsonRules };

/** A character as it is, which nothing spells otherwise. */
const plainCharacter = { kind: 'characters' as const, isNegated: true, ranges: [[0, 0x1f], [0x22, 0x22], [0x5c, 0x5c]] as [number, number][] }; // prettier-ignore
/** One that counts as one: half of a pair of surrogates does not. */
const counted = inString([[0, 0x10ffff]]);

const structural = new Set(['type', 'properties', 'required', 'additionalProperties', 'items', 'prefixItems', 'enum', 'const', 'allOf', '$ref', 'minimum', 'maximum', 'minLength', 'maxLength', 'pattern', 'minItems', 'maxItems', 'anyOf', 'oneOf']); // prettier-ignore

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

function stringOf(one: Schema): Expression {
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

/** A value as it is written without blanks. */
const literal = (value: unknown): Expression => text(JSON.stringify(value) ?? 'null');

function among(options: readonly Expression[], name: string): Expression {
  if (options.length === 0) throw badGrammar(`${name} is empty`);
  return choice(...options);
}
