/**
 * A JSON schema as rules: every text of the rules fits the schema. Keywords that a grammar cannot express (`not`, `uniqueItems` …) are refused,
 * annotations (`title`, most formats) are ignored. Schemas that apply at once are joined first. Properties come in the order of the schema.
 * An object with named properties has no others unless `additionalProperties` says so, as in llama.cpp.
 */
import { badGrammar } from './code.ts';
import { choiceOf, nothing, rule, sequence, text, type Expression, type Rules } from './expression.ts';
import { jsonRules } from './json.ts';
import { integerBetween, numberBetween } from './numbers.ts';
import { arrayOf } from './schema-arrays.ts';
import { checkKeywords, restricts } from './schema-keywords.ts';
import { isLiteral, literalOf } from './schema-literals.ts';
import { isPossible, merged } from './schema-merge.ts';
import { objectOf } from './schema-objects.ts';
import {
  asKeywords,
  boundsOf,
  costOf,
  inferred,
  isCrossed,
  listIn,
  typesOf,
  without,
  type Define,
  type Schema,
} from './schema-parts.ts';
import { mostDepth, referred, resolved } from './schema-references.ts';
import { formatOf, stringOf } from './schema-strings.ts';

const mostSchemas = 20_000;
const mostTogether = 1_000;

/** `around`: the text before and after the value. @throws UserError for a schema that no grammar can express. */
export function schemaRules(schema: unknown, around: readonly [before: string, behind: string] = ['', '']): Rules {
  const rules = new Map(jsonRules);
  const waiting: (() => void)[] = [];
  let count = 0;
  let ids = 0;

  const define: Define = (name, make) => {
    if (!rules.has(name)) {
      rules.set(name, nothing);
      waiting.push(() => void rules.set(name, make()));
    }
    return rule(name);
  };
  const spend = (schemas: number): void => {
    count += schemas;
    if (count > mostSchemas) throw badGrammar(`it has more than ${mostSchemas} schemas`);
  };
  const inPlace = (given: unknown): Schema => resolved(schema, given, spend);
  const value = (given: unknown, depth: number): Expression => {
    spend(1);
    if (depth > mostDepth) throw badGrammar(`its schemas are nested deeper than ${mostDepth}`);
    if (given === true) return rule('value');
    const one = asKeywords(given);
    checkKeywords(one);
    if ('$ref' in one) {
      const rest = without(one, ['$ref']);
      const { schema: target, name } = referred(schema, one['$ref']);
      return restricts(rest) ? together([rest, inPlace(target)]) : define(name, () => value(target, 0));
    }
    for (const key of ['anyOf', 'oneOf', 'allOf']) {
      const parts = listIn(one, key);
      if (parts !== undefined) return combined(key, parts, without(one, [key]), depth);
    }
    if (isLiteral(one)) return literalOf(one, `${ids++}`, define);
    const types = typesOf(one) ?? [inferred(one) ?? (formatOf(one) && 'string')];
    if (types.length === 0) throw badGrammar('no type fits all schemas of one value');
    const able = types.filter((type) => !isCrossed(type, one));
    // If none is, the first says why.
    return choiceOf((able.length > 0 ? able : types).map((type) => ofType(type, one, depth)));
  };

  /** Some of these schemas, or all of them, and `rest` in any case. */
  const combined = (key: string, parts: readonly unknown[], rest: Schema, depth: number): Expression => {
    if (parts.length > mostTogether) throw badGrammar(`${key} has more than ${mostTogether} schemas`);
    if (key === 'allOf') return together([rest, ...distinct(parts).map((part) => inPlace(part))]);
    const cost = 1 + costOf(JSON.stringify(rest));
    const within = (part: unknown): Expression[] => {
      if (!restricts(rest)) return [value(part, depth + 1)];
      const other = inPlace(part);
      spend(cost + costOf(JSON.stringify(other)));
      const both = merged([rest, other]);
      return isPossible(both, inPlace) ? [made(both)] : [];
    };
    const options = parts.filter((part) => part !== false).flatMap(within);
    if (options.length === 0) throw badGrammar(`${key} is empty, or nothing fits it`);
    return choiceOf(options);
  };
  const together = (schemas: readonly Schema[]): Expression => {
    spend(schemas.reduce((sum, one) => sum + 1 + costOf(JSON.stringify(one)), 0));
    return made(merged(schemas));
  };
  /** A schema that is made of others may lead to itself, as a reference may. */
  const made = (one: Schema): Expression => {
    const name = JSON.stringify(one);
    spend(costOf(name));
    return define(`made ${name}`, () => value(one, 0));
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
        return arrayOf(one, `${ids++}`, within, define);
      case 'object':
        return objectOf(one, `${ids++}`, within, define);
      default:
        throw badGrammar(`there is no type ${JSON.stringify(type)?.slice(0, 100)}`);
    }
  };

  const whole = value(schema, 0);
  // Rules that are waiting name more of them, which wait in turn: no chain of rules fills the stack.
  for (const make of waiting) make();
  rules.set('root', sequence(text(around[0]), whole, text(around[1])));
  return { root: 'root', rules };
}

/** Each once. */
const distinct = (parts: readonly unknown[]): unknown[] => [
  ...new Map(parts.map((part) => [JSON.stringify(part), part])).values(),
];

/** Any object. */
export const jsonObjectRules: Rules = { root: 'object', rules: jsonRules };
