import { expect, test } from 'vitest';
import { kindOf } from '../../../../backend/evaluation/tasks/kinds.ts';

test.each([
  [' return', true, 'keyword'],
  [' return', false, 'text'],
  ['name', true, 'identifier'],
  ['3.5', false, 'number'],
  [');', true, 'punctuation'],
  ['\n  ', true, 'whitespace'],
  // A part of a character.
  ['', true, 'text'],
  ['', false, 'text'],
] as const)('%j, code: %j', (token, isCode, kind) => {
  expect(kindOf(token, isCode)).toBe(kind);
});
