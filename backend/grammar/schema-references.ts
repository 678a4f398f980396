/** `$ref` within a schema. Pure. */
import { badGrammar } from './code.ts';
import { merged } from './schema-merge.ts';
import { restricts } from './schema-keywords.ts';
import { asKeywords, costOf, decode, without, type Schema } from './schema-parts.ts';

/** Of schemas, and of references within them. */
export const mostDepth = 100;

/** What a reference leads to in the whole schema, and the name of its rule. */
export function referred(whole: unknown, reference: unknown): { schema: unknown; name: string } {
  if (typeof reference !== 'string' || !/^#(\/|$)/.test(reference))
    throw badGrammar(`$ref ${JSON.stringify(reference)?.slice(0, 100)} does not lead into the schema itself`);
  const keys = reference
    .split('/')
    .slice(1)
    .map((key) => decode(key).replaceAll('~1', '/').replaceAll('~0', '~'));
  const found = keys.reduce<unknown>(
    (at, key) => (typeof at === 'object' && at !== null && Object.hasOwn(at, key) ? (at as Schema)[key] : undefined),
    whole,
  );
  if (found === undefined) throw badGrammar(`$ref ${reference.slice(0, 100)} leads nowhere`);
  return { schema: found, name: `ref ${reference}` };
}

/** A schema in its place; references at its top are followed, and `spend` is told of each. */
export function resolved(whole: unknown, given: unknown, spend: (schemas: number) => void, depth = 0): Schema {
  const one = given === true ? {} : asKeywords(given);
  if (depth > mostDepth) throw badGrammar('its references go round');
  if (!('$ref' in one)) return one;
  spend(1);
  const target = resolved(whole, referred(whole, one['$ref']).schema, spend, depth + 1);
  const rest = without(one, ['$ref']);
  if (!restricts(rest)) return target;
  spend(costOf(JSON.stringify(target)));
  return merged([rest, target]);
}
