import { expect, test } from 'vitest';
import { plural, singular } from '../../../protocol/plural.ts';

test('one is one', () => {
  expect([0, 1, 0.9, 2, 12345].map((value) => plural(value, 'token'))).toEqual([
    '0 tokens',
    '1 token',
    '1 token',
    '2 tokens',
    '12,345 tokens',
  ]);
  expect(plural(2, 'batch', 'batches')).toBe('2 batches');
});

test('units lose their plural', () => {
  expect(['tokens', 'batches', 'passes', 'windows', 'bytes', 'texts', ''].map(singular)).toEqual([
    'token',
    'batch',
    'pass',
    'window',
    'byte',
    'text',
    '',
  ]);
});
