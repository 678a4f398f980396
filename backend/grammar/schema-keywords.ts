/** Which keywords of a schema say what fits, and which of those no grammar can express. Pure. */
import { badGrammar } from './code.ts';
import { typesOf, type Schema } from './schema-parts.ts';

const never = (): boolean => false;
const isMade = (one: Schema): boolean => ['anyOf', 'oneOf', 'allOf', '$ref'].some((name) => name in one);

/** Keywords that cannot be expressed, with the test for those that have no effect. */
const impossible: Readonly<Record<string, (value: unknown, one: Schema) => boolean>> = {
  ...Object.fromEntries(
    ['not', 'if', 'patternProperties', 'dependencies', 'dependentRequired', 'dependentSchemas', 'contains', 'maxProperties', '$dynamicRef', '$recursiveRef'].map((name) => [name, never]), // prettier-ignore
  ),
  // Of a schema that is made of others, it is looked at once they are joined.
  multipleOf: (value, one) => value === 1 && (typesOf(one)?.includes('number') === false || isMade(one)),
  propertyNames: (value) => value === true || JSON.stringify(value) === '{"type":"string"}',
  uniqueItems: (value) => value === false,
  minProperties: (value) => value === 0,
  unevaluatedProperties: (value) => typeof value === 'boolean',
  unevaluatedItems: (value) => typeof value === 'boolean',
};

const possible = ['type', 'enum', 'const', 'anyOf', 'oneOf', 'allOf', '$ref', 'properties', 'required', 'additionalProperties', 'items', 'prefixItems', 'additionalItems', 'minItems', 'maxItems', 'minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum', 'minLength', 'maxLength', 'pattern', 'format']; // prettier-ignore

/** Keywords that say what fits: all others are annotations. */
export const restricting: ReadonlySet<string> = new Set([...possible, ...Object.keys(impossible)]);

export const restricts = (one: Schema): boolean => Object.keys(one).some((name) => restricting.has(name));

/** @throws UserError for a keyword that no grammar can express. */
export function checkKeywords(one: Schema): void {
  for (const [name, isHarmless] of Object.entries(impossible))
    if (one[name] !== undefined && !isHarmless(one[name], one))
      throw badGrammar(`no grammar keeps ${name}: leave it out of the schema`);
}
