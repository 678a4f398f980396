/** Schemas that all apply to one value, as one schema. Pure. */
import { badGrammar } from './code.ts';
import { restricting, restricts } from './schema-keywords.ts';
import { isLiteral, wordsOf } from './schema-literals.ts';
import { inferred, isCrossed, listIn, recordIn, typesOf, type Schema } from './schema-parts.ts';

/**
 * A schema without annotations that allows what all of these do; the first is the one that has the others as parts. `isPossible` tells
 * whether anything fits it. @throws UserError for schemas that no schema joins.
 */
export function merged(schemas: readonly Schema[]): Schema {
  if (schemas.filter(restricts).length > 1)
    for (const name of ['unevaluatedProperties', 'unevaluatedItems'])
      if (schemas.slice(1).some((part) => part[name] === false)) throw unjoined(name);
  return schemas.reduce(joined, {});
}

/** Schemas that are looked at, one within the other, before one is taken to be possible. */
const mostLookedAt = 100;

/**
 * Whether something may fit a schema that was joined, as far as its parts exclude each other. `resolve`: follows references at the top;
 * `seen`: the schemas around it and those before it, which may lead back to themselves.
 */
export function isPossible(one: Schema, resolve: (part: unknown) => Schema, seen = new Set<string>()): boolean {
  const name = JSON.stringify(one);
  if (seen.has(name) || seen.size >= mostLookedAt) return true;
  seen.add(name);
  if (typesOf(one)?.length === 0) return false;
  if (isLiteral(one)) return wordsOf(one).length > 0;
  const types = typesOf(one) ?? [inferred(one)];
  if (types.every((type) => isCrossed(type, one))) return false;
  if (types.some((type) => type !== 'object' && !isCrossed(type, one))) return true;
  const properties = recordIn(one, 'properties') ?? {};
  const other = one['additionalProperties'] ?? one['unevaluatedProperties'] ?? true;
  return (listIn(one, 'required') ?? []).every((needed) => {
    const property = Object.hasOwn(properties, String(needed)) ? properties[String(needed)] : other;
    if (property === false) return false;
    const parts = partsOf(property);
    return parts.length < 2 || isPossible(merged(parts.map(resolve)), resolve, seen);
  });
}

const same = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b);

const unjoined = (name: string): Error =>
  badGrammar(`no grammar keeps ${name} of several schemas at once: join them in the schema, or leave one out`);

/** Keywords that are joined with each other. */
const together = new Set(['properties', 'additionalProperties', 'items', 'prefixItems', 'additionalItems']);

function joined(all: Schema, one: Schema): Schema {
  const keywords = Object.entries(one).flatMap(([name, value]): [string, unknown][] => {
    if (!restricting.has(name)) return [];
    if (all[name] === undefined || same(all[name], value)) return [[name, value]];
    return together.has(name) ? [] : [[name, pair(name, all[name], value)]];
  });
  const isContradiction = 'const' in all && 'const' in one && !same(all['const'], one['const']);
  return {
    ...all,
    ...Object.fromEntries(keywords),
    ...(isContradiction && { enum: [] }),
    ...joinedProperties(all, one),
    ...joinedItems(all, one),
  };
}

/** Two values of a keyword at once. */
function pair(name: string, a: unknown, b: unknown): unknown {
  switch (name) {
    case 'minimum':
    case 'exclusiveMinimum':
    case 'minLength':
    case 'minItems':
      if (typeof a === 'number' && typeof b === 'number') return Math.max(a, b);
      break;
    case 'maximum':
    case 'exclusiveMaximum':
    case 'maxLength':
    case 'maxItems':
      if (typeof a === 'number' && typeof b === 'number') return Math.min(a, b);
      break;
    case 'required':
    case 'allOf':
      if (Array.isArray(a) && Array.isArray(b)) return [...(a as unknown[]), ...(b as unknown[])];
      break;
    case 'enum':
      if (Array.isArray(a) && Array.isArray(b)) return commonValues(a, b);
      break;
    case 'type':
      return commonTypes([a].flat(), [b].flat());
    case 'const':
      return a;
  }
  throw unjoined(name);
}

function commonValues(a: readonly unknown[], b: readonly unknown[]): unknown[] {
  const others = new Set(b.map((value) => JSON.stringify(value)));
  return a.filter((value) => others.has(JSON.stringify(value)));
}

function commonTypes(a: readonly unknown[], b: readonly unknown[]): unknown {
  const covers = (types: readonly unknown[], type: unknown): boolean =>
    types.includes(type) || (type === 'integer' && types.includes('number'));
  const types = new Set([...a.filter((type) => covers(b, type)), ...b.filter((type) => covers(a, type))]);
  return types.size === 1 ? [...types][0] : [...types];
}

/**
 * To a property that only one schema names, `additionalProperties` of the other applies. If both are closed, the properties of either are
 * allowed: strictly, only those that both name would be, but Zod writes an intersection this way.
 */
function joinedProperties(a: Schema, b: Schema): Schema {
  const [left, right] = [recordIn(a, 'properties') ?? {}, recordIn(b, 'properties') ?? {}];
  const names = [...new Set([...Object.keys(left), ...Object.keys(right)])];
  const areClosed = a['additionalProperties'] === false && b['additionalProperties'] === false;
  const [leftOther, rightOther] = areClosed ? [] : [a['additionalProperties'], b['additionalProperties']];
  const properties = names.map((name) => [
    name,
    both(Object.hasOwn(left, name) ? left[name] : leftOther, Object.hasOwn(right, name) ? right[name] : rightOther),
  ]);
  const others = areClosed ? false : both(leftOther, rightOther);
  return {
    ...(names.length > 0 && { properties: Object.fromEntries(properties) as Schema }),
    ...(others !== undefined && { additionalProperties: others }),
  };
}

const itemKeywords = ['items', 'prefixItems', 'additionalItems'];

function joinedItems(a: Schema, b: Schema): Schema {
  const [left, right] = [a, b].map((one) => itemKeywords.map((name) => one[name]));
  const isAny = (values: readonly unknown[]): boolean => values.every((value) => value === undefined);
  if (isAny(left!) || isAny(right!) || same(left, right)) return {};
  if ([a, b].some((one) => one['prefixItems'] !== undefined || Array.isArray(one['items'])))
    throw unjoined('prefixItems');
  return { items: both(a['items'], b['items']) };
}

/** Two schemas of one place. */
function both(a: unknown, b: unknown): unknown {
  if (a === b || a === undefined || a === true) return b ?? a;
  if (b === undefined || b === true || same(a, b)) return a;
  if (a === false || b === false) return false;
  return { allOf: [...partsOf(a), ...partsOf(b)] };
}

/** A list that grows, rather than lists in lists. */
function partsOf(schema: unknown): readonly unknown[] {
  if (typeof schema !== 'object' || schema === null || Object.keys(schema).join() !== 'allOf') return [schema];
  const parts = (schema as Schema)['allOf'];
  return Array.isArray(parts) ? (parts as unknown[]) : [schema];
}
