/** Schemas as grammars: what is drawn from them fits by ajv, what fits is let through, and what cannot be kept is refused. */
import { Ajv2020 } from 'ajv/dist/2020.js';
import { describe, expect, test } from 'vitest';
import { finish } from '../../../backend/data/steps.ts';
import { compileRules } from '../../../backend/grammar/code.ts';
import { jsonObjectRules, schemaRules } from '../../../backend/grammar/json-schema.ts';
import { drawn, fitting } from '../../support/grammars.ts';

const ajv = new Ajv2020({ strict: false, validateFormats: false });
const person = {
  type: 'object',
  properties: {
    name: { type: 'string' },
    age: { type: 'integer', minimum: 0, maximum: 150 },
    email: { type: 'string' },
  },
  required: ['name', 'age'],
};

/** A schema, values that must be let through, and texts that must not. */
const schemas: [string, object, unknown[], string[]][] = [
  ['an object with some that may be missing', person, [{ name: 'a', age: 3 }, { name: '', age: 150, email: 'x' }], ['{"name":"a"}', '{"name":"a","age":151}', '{"name":"a","age":1,"other":2}']], // prettier-ignore
  ['all that may be missing', { properties: { a: { type: 'null' }, b: { type: 'boolean' } } }, [{}, { a: null }, { b: true }, { a: null, b: false }], ['{,"b":true}', '{"a":null,}']], // prettier-ignore
  ['others beside', { ...person, additionalProperties: { type: 'number' } }, [{ name: 'a', age: 1, nam: 2, names: 3, '': 4 }], ['{"name":"a","age":1,"email":5}', '{"name":"a","age":1,"x":"y"}']], // prettier-ignore
  ['a map', { type: 'object', additionalProperties: { type: 'array', items: { type: 'integer' } } }, [{}, { a: [1, 2] }], ['{"a":["b"]}']], // prettier-ignore
  ['lists by length', { type: 'array', items: { enum: ['a', 1, null] }, minItems: 1, maxItems: 3 }, [['a'], [1, null, 'a']], ['[]', '["a","a","a","a"]', '["b"]']], // prettier-ignore
  ['a tuple', { type: 'array', prefixItems: [{ type: 'string' }, { type: 'integer' }], items: false, minItems: 2 }, [['a', 1]], ['["a"]', '["a",1,2]']], // prettier-ignore
  ['a tuple that may be short', { type: 'array', prefixItems: [{ type: 'string' }, { type: 'integer' }], items: { type: 'null' } }, [[], ['a'], ['a', 1], ['a', 1, null, null]], ['[1]', '["a",null]']], // prettier-ignore
  ['texts by length', { type: 'string', minLength: 2, maxLength: 4 }, ['ab', 'äö🦊"'], ['"a"', '"abcde"', '"\\ud83d\\ude00"']], // prettier-ignore
  ['a pattern', { type: 'string', pattern: '^(a|b\\d{2,3})[^"x]\\.\\w+$' }, ['a-.b', 'b123\\.zz'], ['"b1-.b"', '"ax.b"']], // prettier-ignore
  ['a pattern without anchors', { type: 'string', pattern: 'b+' }, ['abc', 'b'], ['"ac"', '""']],
  ['integers within bounds', { type: 'integer', minimum: -13, exclusiveMaximum: 207 }, [-13, 0, 7, 99, 206], ['-14', '207', '1000', '01', '-0']], // prettier-ignore
  ['integers from 1', { type: 'integer', exclusiveMinimum: 0 }, [1, 10, 123456789], ['0', '-1']],
  ['numbers within bounds', { type: 'number', exclusiveMinimum: 0, maximum: 1 }, [0.5, 1, 0.001], ['0', '1.5', '-0.5', '0.0']], // prettier-ignore
  ['numbers around 0', { type: 'number', minimum: -2, maximum: 2 }, [-2, -1.99, 0, 0.25, 2], ['-2.1', '2.01', '3']],
  ['numbers within fractions', { type: 'number', minimum: 0.2, maximum: 0.8 }, [0.2, 0.25, 0.7999, 0.8], ['0', '0.1', '0.19', '0.81', '1', '-0.5', '0.']], // prettier-ignore
  ['numbers up to a half', { type: 'number', minimum: 0, maximum: 2.5 }, [0, 0.001, 1.75, 2, 2.25, 2.5], ['2.51', '3', '-0.1']], // prettier-ignore
  ['numbers from a hundredth', { type: 'number', minimum: 0.01, maximum: 1 }, [0.01, 0.5, 1], ['0', '0.001', '1.01']],
  ['numbers between fractions below 0', { type: 'number', exclusiveMinimum: -10.5, exclusiveMaximum: -0.25 }, [-10.49, -7, -0.26], ['-10.5', '-11', '-0.25', '-0.2', '0']], // prettier-ignore
  ['numbers below what is rounded to the bound', { type: 'number', minimum: 999, exclusiveMaximum: 1000 }, [999.9999], ['999.99999999999999', '1000']], // prettier-ignore
  ['numbers near 0', { type: 'number', minimum: 1e-9, maximum: 2e-9 }, [], ['0', '0.000000003']],
  ['either', { anyOf: [{ type: 'string' }, { type: 'integer' }, { type: 'null' }] }, ['a', 4, null], ['true', '[]']],
  ['several types', { type: ['integer', 'null', 'boolean'] }, [1, null, true], ['"a"']],
  ['constants', { enum: ['on', 'off', 3, { a: [1] }] }, ['on', 3, { a: [1] }], ['"o"', '4']],
  ['all of them', { allOf: [{ properties: { a: { const: 1 } }, required: ['a'] }, { properties: { b: { const: 2 } }, required: ['b'] }] }, [{ a: 1, b: 2 }], ['{"a":1}']], // prettier-ignore
  ['bounds at once', { allOf: [{ type: 'integer', minimum: 5, maximum: 9 }, { minimum: 0, maximum: 7 }] }, [5, 7], ['3', '8']], // prettier-ignore
  ['a property twice', { $defs: { base: { properties: { kind: { type: 'string' }, more: { type: 'null' } } } }, allOf: [{ properties: { kind: { const: 'cat' } }, required: ['kind'] }, { $ref: '#/$defs/base' }] }, [{ kind: 'cat' }, { kind: 'cat', more: null }], ['{"kind":"dog"}']], // prettier-ignore
  ['others of one beside properties of another', { allOf: [{ properties: { a: { type: 'null' } }, additionalProperties: { type: 'integer' } }, { properties: { b: {}, c: { type: 'string' } }, required: ['b'] }, { properties: { a: {}, b: {} }, additionalProperties: false }] }, [{ a: null, b: 1 }, { b: 2 }], ['{"a":null}', '{"b":"x"}', '{"b":1,"c":"x"}']], // prettier-ignore
  ['what is needed as others are', { type: 'object', required: ['x'], additionalProperties: { type: 'integer' } }, [{ x: 1 }], ['{"x":"a"}']], // prettier-ignore
  ['keywords beside a reference', { $defs: { s: { type: 'string' } }, $ref: '#/$defs/s', maxLength: 2 }, ['ab'], ['"abcdef"']], // prettier-ignore
  ['keywords beside references that lead back', { $defs: { node: { properties: { next: { type: 'object', $ref: '#/$defs/node' }, one: { allOf: [{ $ref: '#/$defs/node' }], required: ['next'] } } } }, $ref: '#/$defs/node', type: 'object' }, [{}, { next: { next: {} } }, { one: { next: {} } }], ['{"one":{}}']], // prettier-ignore
  ['bounds beside alternatives', { anyOf: [{ type: 'integer' }, { type: 'number' }], exclusiveMinimum: 0 }, [1, 0.5], ['-3', '0']], // prettier-ignore
  ['types of all and of either', { type: ['integer', 'null'], anyOf: [{ type: 'string' }, { type: 'number', minimum: 3 }] }, [3, 44], ['null', '"a"', '3.5', '2']], // prettier-ignore
  ['alternatives of which one cannot be', { type: 'string', anyOf: [{ const: 'a' }, { const: 1 }] }, ['a'], ['1', '"b"']], // prettier-ignore
  ['alternatives of which one is too narrow', { type: 'integer', maximum: 5, anyOf: [{ minimum: 0 }, { minimum: 10 }] }, [0, 5], ['-1', '10']], // prettier-ignore
  ['types of which one has crossed bounds', { type: ['integer', 'string'], minimum: 3, maximum: 2 }, ['a'], ['2', '3']],
  ['an alternative that is closed to what is required', { type: 'object', required: ['x'], anyOf: [{ properties: { x: { type: 'null' } }, additionalProperties: false }, { properties: { y: { type: 'null' } }, additionalProperties: false }] }, [{ x: null }], ['{"y":null}', '{"x":null,"y":null}']], // prettier-ignore
  ['any character of a line', { type: 'string', pattern: '^.$' }, ['a', '🦊'], ['"\\n"', '"\u2028"', '"ab"']],
  ['constants beside a constant that differs', { const: 1, anyOf: [{ const: 2 }, { type: 'integer' }] }, [1], ['2']],
  ['a variant whose property cannot be', { properties: { kind: { enum: ['a', 'b'] } }, required: ['kind'], oneOf: [{ properties: { kind: { const: 'a' } } }, { properties: { kind: { const: 'c' } } }] }, [{ kind: 'a' }], ['{"kind":"b"}', '{"kind":"c"}']], // prettier-ignore
  ['a variant that is closed', { properties: { t: { type: 'null' } }, required: ['t'], anyOf: [{ properties: { a: { type: 'null' } } }, { properties: { b: { type: 'null' } }, additionalProperties: false }] }, [{ t: null }, { t: null, a: null }], ['{"t":null,"b":null}']], // prettier-ignore
  ['a record', { type: 'object', propertyNames: { type: 'string' }, additionalProperties: { type: 'integer' } }, [{}, { a: 1 }], ['{"a":"b"}']], // prettier-ignore
  ['whole multiples of alternatives', { anyOf: [{ type: 'integer' }], multipleOf: 1 }, [3], ['1.5']],
  ['whole multiples', { type: ['integer', 'null'], multipleOf: 1 }, [1, null], ['1.5']],
  ['no unevaluated properties', { type: 'object', unevaluatedProperties: false }, [{}], ['{"a":1}']],
  ['no unevaluated items', { prefixItems: [{ type: 'null' }], unevaluatedItems: false }, [[], [null]], ['[null,1]']],
  ['constants of a type', { type: 'string', enum: ['a', 1, 'long', null], maxLength: 2 }, ['a'], ['1', '"long"', 'null']], // prettier-ignore
  ['constants within bounds', { type: 'integer', enum: [1, 2.5, 3, 8, 'a'], minimum: 2, exclusiveMaximum: 8 }, [3], ['1', '2.5', '8', '"a"']], // prettier-ignore
  ['a constant of a list', { allOf: [{ enum: ['a', 'b', 'c'] }, { const: 'b' }, { enum: ['c', 'b'] }] }, ['b'], ['"a"', '"c"']], // prettier-ignore
  ['many constants', { enum: [...Array.from({ length: 1500 }, (_, i) => `word ${i}`), 1, 12, 'word'] }, ['word 0', 'word 1499', 'word', 12], ['"word 1500"', '"wor"', '2']], // prettier-ignore
  ['a name of many characters', { properties: { ['x'.repeat(3000)]: { type: 'null' } }, additionalProperties: true }, [{ ['x'.repeat(3000)]: null, x: 1 }], [`{"${'x'.repeat(3000)}":1}`]], // prettier-ignore
  ['a tuple of many', { prefixItems: Array(300).fill({ type: 'null' }) }, [[], [null, null]], ['[1]']],
  ['a tree', { $defs: { node: { type: 'object', properties: { value: { type: 'integer' }, children: { type: 'array', items: { $ref: '#/$defs/node' } } }, required: ['value'] } }, $ref: '#/$defs/node' }, [{ value: 1, children: [{ value: 2, children: [] }] }], ['{"value":1,"children":[1]}']], // prettier-ignore
  ['itself', { type: 'object', properties: { next: { anyOf: [{ type: 'null' }, { $ref: '#' }] } }, required: ['next'] }, [{ next: { next: null } }], ['{"next":{}}']], // prettier-ignore
  ['what needs no property of its own', { type: 'object', required: ['x'] }, [{ x: [1] }], ['{}']],
  ['anything', {}, [1, 'a', [{}], { a: null }], ['', '{a:1}']],
];

describe.each(schemas)('%s', (_, schema, values, others) => {
  const rules = schemaRules(schema);
  const fits = ajv.compile(schema);
  test('lets through what it should, and nothing else', () => {
    const { whole } = fitting(rules);
    for (const value of values) {
      expect([value, fits(value)]).toEqual([value, true]);
      expect([value, whole(JSON.stringify(value))]).toEqual([value, true]);
    }
    for (const text of others) expect([text, whole(text)]).toEqual([text, false]);
  });
  test('what is drawn fits', () => {
    for (let seed = 1; seed <= 12; seed++) {
      const text = drawn(rules, seed);
      const value: unknown = JSON.parse(text);
      expect([text, fits(value), fits.errors]).toEqual([text, true, null]);
    }
  });
});

test('closed objects that apply at once are joined, as in an intersection of Zod', () => {
  const closed = (name: string) => ({ type: 'object', properties: { [name]: { type: 'null' } }, required: [name], additionalProperties: false }); // prettier-ignore
  const { whole } = fitting(schemaRules({ allOf: [closed('foo'), closed('bar')] }));
  expect(['{"foo":null,"bar":null}', '{"foo":null}', '{"foo":null,"bar":null,"c":1}'].map(whole)).toEqual([true, false, false]); // prettier-ignore
});

test.each(['^[+-\\d]$', '^[\\d-+]$', '^[^+-\\w]$'])('a minus beside a class means itself in %s', (pattern) => {
  const { whole } = fitting(schemaRules({ type: 'string', pattern }));
  const expected = new RegExp(pattern);
  for (const text of ['+', ',', '-', '.', '/', '0', '9', 'a']) expect([text, whole(`"${text}"`)]).toEqual([text, expected.test(text)]); // prettier-ignore
});

test('variants that lead back to themselves are looked at once', () => {
  const node = (name: string) => ({
    type: 'object',
    properties: { next: { $ref: `#/$defs/${name}` } },
    required: ['next'],
  });
  const schema = {
    $defs: { a: { ...node('a') }, b: { ...node('b'), minProperties: 0 } },
    $ref: '#/$defs/a',
    anyOf: [{ $ref: '#/$defs/b' }],
  };
  expect(fitting(schemaRules(schema)).whole('{}')).toBe(false);
});

test('a keyword that is null is as one that is missing', () => {
  const missing = Object.fromEntries(
    ['enum', 'minimum', 'maximum', 'anyOf', '$ref', 'not'].map((name) => [name, null]),
  );
  expect(fitting(schemaRules({ type: 'integer', ...missing })).whole('7')).toBe(true);
  const list = { type: 'array', items: { type: 'string', minLength: null, pattern: null }, maxItems: null };
  expect(fitting(schemaRules({ properties: { a: list }, required: null })).whole('{"a":["b"]}')).toBe(true);
  expect(fitting(schemaRules({ const: null })).whole('null')).toBe(true);
});

test('a bound that a flag beside it excludes, as of draft 4, is joined with others', () => {
  const { whole } = fitting(schemaRules({ allOf: [{ type: 'integer', minimum: 3, exclusiveMinimum: true }, { minimum: 5, exclusiveMinimum: false }] })); // prettier-ignore
  expect(['3', '4', '5', '6'].map(whole)).toEqual([false, false, true, true]);
  const alone = fitting(schemaRules({ type: 'integer', maximum: 5, exclusiveMaximum: true })).whole;
  expect(['4', '5'].map(alone)).toEqual([true, false]);
});

test('characters beyond the first 65,536 are two letters in a pattern, and one in a text', () => {
  const { whole } = fitting(schemaRules({ type: 'string', pattern: '^[\\uD83D\\uDE00-\\uD83D\\uDE02]$' }));
  expect(['"😀"', '"😂"', '"😃"'].map(whole)).toEqual([true, true, false]);
});

test('a schema that is merged over and over costs what it is long', () => {
  const properties = Object.fromEntries(Array.from({ length: 12_000 }, (_, i) => [`p${i}`, { maxLength: 3 }]));
  const $defs = { a: { properties }, b: { allOf: Array.from({ length: 1_000 }, () => ({ $ref: '#/$defs/a' })) } };
  const each = Object.fromEntries(Array.from({ length: 9 }, (_, i) => [`q${i}`, { $ref: '#/$defs/b', maxLength: i }]));
  const started = performance.now();
  expect(() => schemaRules({ $defs, properties: each })).toThrow(/more than 900 properties/);
  expect(performance.now() - started).toBeLessThan(5_000);
});

test('any object is JSON, however it is drawn', () => {
  for (let seed = 1; seed <= 20; seed++) expect(typeof JSON.parse(drawn(jsonObjectRules, seed))).toBe('object');
});

test.each(['date', 'time', 'date-time', 'uuid'])('the format %s is kept, and unknown ones are not asked', (format) => {
  const examples = { date: '2026-02-28', time: '23:59:00Z', 'date-time': '2026-11-27T08:00:00.5+01:00', uuid: '123e4567-e89b-12d3-a456-426614174000' }; // prettier-ignore
  const { whole } = fitting(schemaRules({ type: 'string', format }));
  expect(whole(JSON.stringify(examples[format as 'date']))).toBe(true);
  expect(whole('"x"')).toBe(false);
  if (format.startsWith('date'))
    for (const [day, isDay] of [
      ['2024-02-29', true],
      ['2000-02-29', true],
      ['2023-02-29', false],
      ['1900-02-29', false],
      ['2026-02-30', false],
    ] as const)
      // prettier-ignore
      expect([day, whole(JSON.stringify(day + examples[format as 'date'].slice(10)))]).toEqual([day, isDay]);
  expect(fitting(schemaRules({ type: 'string', format: 'colour' })).whole('"x"')).toBe(true);
});

test.each<[object, RegExp]>([
  [{ not: {} }, /no grammar keeps not/],
  [{ type: 'array', uniqueItems: true }, /no grammar keeps uniqueItems/],
  [{ type: 'number', multipleOf: 0.1 }, /multipleOf/],
  [{ type: 'number', multipleOf: 1 }, /multipleOf/],
  [{ allOf: [{ anyOf: [{ type: 'string' }, { type: 'null' }] }, { anyOf: [{ type: 'integer' }, { type: 'null' }] }] }, /anyOf of several schemas at once/], // prettier-ignore
  [{ allOf: [{ pattern: 'a' }, { pattern: 'b' }] }, /pattern of several schemas at once/],
  [{ allOf: [{ prefixItems: [{}] }, { items: { type: 'null' } }] }, /prefixItems of several schemas at once/],
  [{ allOf: [{ properties: { a: {} }, unevaluatedProperties: false }, { properties: { b: {} } }] }, /unevaluatedProperties of several/], // prettier-ignore
  [{ allOf: [{ type: 'string' }, { type: 'integer' }] }, /no type fits/],
  [{ enum: ['a'], type: 'integer' }, /no value of enum or const fits/],
  [{ enum: ['a'], pattern: 'b' }, /pattern beside enum/],
  [{ required: ['a'], additionalProperties: false }, /nothing fits "a", which is required/],
  [{ type: 'string', format: 'date', maxLength: 5 }, /a format and a length/],
  [{ prefixItems: [{}], items: false, minItems: 2 }, /has less than 2 items/],
  [{ type: 'integer', minimum: 1e16 }, /no number between 10000000000000000 and Infinity can be written/],
  [{ type: 'number', maximum: -1e16 }, /can be written/],
  [{ type: 'number', exclusiveMinimum: 0.5, maximum: 0.5 }, /can be written/],
  [{ $ref: '#/$defs/a' }, /leads nowhere/],
  [{ $ref: 'https://example.com/a' }, /does not lead into the schema itself/],
  [{ $defs: { a: { $ref: '#/$defs/a' } }, allOf: [{ $ref: '#/$defs/a' }] }, /go round/],
  [{ enum: Array.from({ length: 5000 }, (_, i) => i), anyOf: Array(1000).fill({ minimum: 1e9 }) }, /more than 20000 schemas/], // prettier-ignore
  [{ allOf: Array(2000).fill({}) }, /allOf has more than 1000 schemas/],
  [{ type: 'strin' }, /no type "strin"/],
  [{ enum: [] }, /enum is empty/],
  [{ type: 'integer', minimum: 3, maximum: 2 }, /no number lies within/],
  [{ type: 'string', pattern: '(?=a)b' }, /is not supported/],
  [{ type: 'string', pattern: '[z-a]' }, /has "z-a", which is not supported/],
  [{ type: 'string', pattern: '[a-' }, /is not supported/],
  [{ type: 'string', pattern: '[\\uD83C-\\uDBFF\\uDC00-\\uDFFF]' }, /has "\\\\ud83c", which is not supported/],
  [{ type: 'string', pattern: '\\u{41}' }, /has "u\{41\}", which is not supported/],
  [{ type: 'string', pattern: 'a', maxLength: 3 }, /say the length in the pattern/],
  [{ type: 'array', minItems: 4, maxItems: 2 }, /maxItems is less/],
  [{ properties: [] }, /is no object/],
])('%o is refused', (schema, message) => {
  expect(() => schemaRules(schema)).toThrow(message);
});

test('what is too large is refused in one sentence, and what is long is not', () => {
  const names = Array.from({ length: 4_000 }, (_, i) => `p${i}`);
  const properties = Object.fromEntries(names.map((name) => [name, { type: 'null' }]));
  const open = (schema: object): unknown => finish(compileRules(schemaRules(schema)));
  expect(() => open({ properties })).toThrow(/more than 900 properties that may be missing/);
  expect(() => open({ properties: { ['x'.repeat(30_000)]: {} }, additionalProperties: true })).toThrow(/names of more than 20000 characters/); // prettier-ignore
  expect(() => open({ type: 'string', pattern: 'a|'.repeat(120_000) })).toThrow(/more than 200000 parts/);
  const $defs = Object.fromEntries(Array.from({ length: 4_000 }, (_, i) => [`a${i}`, i === 3_999 ? {} : { items: { $ref: `#/$defs/a${i + 1}` } }])); // prettier-ignore
  for (const schema of [
    { properties, required: names },
    { $defs, $ref: '#/$defs/a0' },
    { enum: Array.from({ length: 130_000 }, (_, i) => i % 10) },
  ])
    // prettier-ignore
    expect(() => open(schema)).not.toThrow();
});
