/**
 * A JSON schema as rules: every text of the rules fits the schema. Keywords that a grammar cannot express (`not`, `uniqueItems` …) are refused,
 * annotations (`title`, most formats) are ignored. Properties come in the order of the schema. An object with named properties has no
 * others unless `additionalProperties` says so, as in llama.cpp.
 */
import { badGrammar } from './code.ts';
import { choice, rule, sequence, text, type Expression, type Rules } from './expression.ts';
import { jsonRules, literal } from './json.ts';
import { integerBetween, numberBetween } from './numbers.ts';
import { arrayOf } from './schema-arrays.ts';
import { objectOf } from './schema-objects.ts';
import { asSchema, boundsOf, inferred, listIn, merged, without, type Schema } from './schema-parts.ts';
import { mostDepth, referred, resolved } from './schema-references.ts';
import { stringOf } from './schema-strings.ts';

const mostSchemas = 20_000;
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
  let objects = 0;

  /** A rule that may name itself. */
  const define = (name: string, make: () => Expression): Expression => {
    if (!rules.has(name)) {
      rules.set(name, text(''));
      rules.set(name, make());
    }
    return rule(name);
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
      const { schema: target, name } = referred(schema, one['$ref']);
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
        return among(one[key].map((each: unknown) => value(isBare ? each : merged([rest, resolved(schema, each)]), depth + 1)), key); // prettier-ignore
      }
    if (Array.isArray(one['allOf']))
      return value(
        merged([without(one, ['allOf']), ...one['allOf'].map((each: unknown) => resolved(schema, each))]),
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
    const within = (part: unknown): Expression => value(part, depth + 1);
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
        return arrayOf(one, within);
      case 'object':
        return objectOf(one, `${objects++}`, within, define);
      default:
        throw badGrammar(`there is no type ${JSON.stringify(type)?.slice(0, 100)}`);
    }
  };

  const whole = value(schema, 0);
  rules.set('root', sequence(text(around[0]), whole, text(around[1])));
  return { root: 'root', rules };
}

/** Any object. */
export const jsonObjectRules: Rules = { root: 'object', rules: jsonRules };

const structural = new Set(['type', 'properties', 'required', 'additionalProperties', 'items', 'prefixItems', 'enum', 'const', 'allOf', '$ref', 'minimum', 'maximum', 'minLength', 'maxLength', 'pattern', 'minItems', 'maxItems', 'anyOf', 'oneOf']); // prettier-ignore

function among(options: readonly Expression[], name: string): Expression {
  if (options.length === 0) throw badGrammar(`${name} is empty`);
  return choice(...options);
}
