/** Schemas that all apply to one value, as one schema. Pure. */
import { badGrammar } from './code.ts';
import { restricting, restricts } from './schema-keywords.ts';
import { recordIn, typesOf, type Schema } from './schema-parts.ts';

/**
 * A schema without annotations that allows what all of these do; the first is the one that has the others as parts. If `type` of it is an
 * empty list, nothing fits. @throws UserError for schemas that no schema joins.
 */
export function merged(schemas: readonly Schema[]): Schema {
  if (schemas.filter(restricts).length > 1)
    for (const name of ['unevaluatedProperties', 'unevaluatedItems'])
      if (schemas.slice(1).some((part) => part[name] === false)) throw unjoined(name);
  return schemas.reduce(joined, {});
}

export const isPossible = (one: Schema): boolean => typesOf(one)?.length !== 0;

const same = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b);

const unjoined = (name: string): Error =>
  badGrammar(`no grammar keeps ${name} of several schemas at once: join them in the schema, or leave one out`);

function joined(all: Schema, one: Schema): Schema {
  const keywords = Object.entries(one)
    .filter(([name]) => restricting.has(name))
    .map(([name, value]) => [name, all[name] === undefined || same(all[name], value) ? value : pair(name, all[name], value)] as const); // prettier-ignore
  return { ...all, ...Object.fromEntries(keywords), ...joinedProperties(all, one), ...joinedItems(all, one) };
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
    case 'properties':
    case 'additionalProperties':
    case 'items':
    case 'prefixItems':
    case 'additionalItems':
      // Joined with each other below.
      return undefined;
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

/** To a property that only one schema names, `additionalProperties` of the other applies. */
function joinedProperties(a: Schema, b: Schema): Schema {
  const [left, right] = [recordIn(a, 'properties') ?? {}, recordIn(b, 'properties') ?? {}];
  const names = [...new Set([...Object.keys(left), ...Object.keys(right)])];
  const [leftOther, rightOther] = [a['additionalProperties'], b['additionalProperties']];
  const properties = names.map((name) => [
    name,
    both(Object.hasOwn(left, name) ? left[name] : leftOther, Object.hasOwn(right, name) ? right[name] : rightOther),
  ]);
  const others = both(leftOther, rightOther);
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
  if (a === undefined || a === true) return b ?? a;
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
