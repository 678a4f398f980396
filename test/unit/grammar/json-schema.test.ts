/** Schemas as grammars: what is drawn from them fits by ajv, what fits is let through, and what cannot be kept is refused. */
import { Ajv2020 } from 'ajv/dist/2020.js';
import { describe, expect, test } from 'vitest';
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
  ['either', { anyOf: [{ type: 'string' }, { type: 'integer' }, { type: 'null' }] }, ['a', 4, null], ['true', '[]']],
  ['several types', { type: ['integer', 'null', 'boolean'] }, [1, null, true], ['"a"']],
  ['constants', { enum: ['on', 'off', 3, { a: [1] }] }, ['on', 3, { a: [1] }], ['"o"', '4']],
  ['all of them', { allOf: [{ properties: { a: { const: 1 } }, required: ['a'] }, { properties: { b: { const: 2 } }, required: ['b'] }] }, [{ a: 1, b: 2 }], ['{"a":1}']], // prettier-ignore
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

test('any object is JSON, however it is drawn', () => {
  for (let seed = 1; seed <= 20; seed++) expect(typeof JSON.parse(drawn(jsonObjectRules, seed))).toBe('object');
});

test.each(['date', 'time', 'date-time', 'uuid'])('the format %s is kept, and unknown ones are not asked', (format) => {
  const examples = { date: '2026-02-28', time: '23:59:00Z', 'date-time': '2026-11-27T08:00:00.5+01:00', uuid: '123e4567-e89b-12d3-a456-426614174000' }; // prettier-ignore
  const { whole } = fitting(schemaRules({ type: 'string', format }));
  expect(whole(JSON.stringify(examples[format as 'date']))).toBe(true);
  expect(whole('"x"')).toBe(false);
  if (format.startsWith('date')) expect(whole(JSON.stringify('2026-02-30'))).toBe(false);
  expect(fitting(schemaRules({ type: 'string', format: 'colour' })).whole('"x"')).toBe(true);
});

test.each<[object, RegExp]>([
  [{ not: {} }, /no grammar keeps not/],
  [{ type: 'array', uniqueItems: true }, /no grammar keeps uniqueItems/],
  [{ type: 'number', multipleOf: 0.1 }, /multipleOf/],
  [{ $ref: '#/$defs/a' }, /leads nowhere/],
  [{ $ref: 'https://example.com/a' }, /does not lead into the schema itself/],
  [{ $defs: { a: { $ref: '#/$defs/a' } }, allOf: [{ $ref: '#/$defs/a' }] }, /go round/],
  [{ allOf: Array(2000).fill({}) }, /allOf has more than 1000 schemas/],
  [{ type: 'strin' }, /no type "strin"/],
  [{ enum: [] }, /enum is empty/],
  [{ type: 'integer', minimum: 3, maximum: 2 }, /no number lies within/],
  [{ type: 'string', pattern: '(?=a)b' }, /is not supported/],
  [{ type: 'string', pattern: 'a', maxLength: 3 }, /say the length in the pattern/],
  [{ type: 'array', minItems: 4, maxItems: 2 }, /maxItems is less/],
  [{ properties: [] }, /is no object/],
])('%o is refused', (schema, message) => {
  expect(() => schemaRules(schema)).toThrow(message);
});
