/** The tokens that spell a token's word otherwise. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { otherSpellings } from '../../../../backend/data/tokenizer/spellings.ts';
import { loadTokenizer } from '../../../../backend/data/tokenizer/tokenizer.ts';
import { shippedModel } from '../../../support/golden.ts';
import { temporaryFolder } from '../../formats/fixtures.ts';
import { sentencePieceFile } from '../fixtures.ts';

const vocabulary = [
  'mid',
  ' mid',
  '[mid',
  ' Mid',
  '.MID',
  '((mid',
  'midst',
  '\tmid',
  'fileName',
  ' FileName',
  'é',
  ' É',
  '=',
  ' =',
  '=\n',
  '==',
  ':=',
  '===',
  '+',
  '😀',
  '\uFFFD',
];
const idOf = (text: string): number | undefined => {
  const id = vocabulary.indexOf(text);
  return id < 0 ? undefined : id;
};
const others = (text: string): string[] => otherSpellings(text, idOf).map((id) => vocabulary[id]!);

describe('other spellings', () => {
  it('have another sign before the word, or other capitals', () => {
    expect(others(' mid').sort()).toEqual(['\tmid', ' Mid', '.MID', '[mid', 'mid'].sort());
    expect(others('fileName')).toEqual([' FileName']);
    expect(others('é')).toEqual([' É']);
  });

  it('are those of a word behind at most one sign', () => {
    for (const text of ['((mid', '', 'mid]', 'unknown']) expect(others(text)).toEqual([]);
  });

  it('of signs have one more, one less or another one, at the beginning or the end', () => {
    expect(others('=').sort()).toEqual([' =', '+', ':=', '==', '=\n'].sort());
    expect(others('==').sort()).toEqual([' =', ':=', '=', '===', '=\n'].sort());
    expect(others('😀').sort()).toEqual(['+', '='].sort());
    expect(others('\uFFFD')).toEqual([]);
  });
});

const smol = join(process.env['EARLY_EXIT_MODELS'] ?? '../shared/models', 'SmolLM2-135M-Instruct.Q4_1.gguf');
const tokenizers: [string, () => string][] = [
  ['the model that ships', () => shippedModel],
  ['pieces', () => sentencePieceFile(temporaryFolder(), [])],
  ...(existsSync(smol) ? [['SmolLM2', () => smol] as [string, () => string]] : []),
];

it.each(tokenizers)('spell each word, and signs as signs, of %s', (_, path) => {
  const tokenizer = loadTokenizer(path());
  const wordOf = (id: number): string =>
    tokenizer
      .tokenText(id)
      .toLowerCase()
      .replace(/^[^\p{L}\p{N}]+/u, '');
  let found = 0;
  for (let id = 0; id < Math.min(4000, tokenizer.vocabularySize); id++) {
    const ids = tokenizer.spellings(id);
    found += ids.length;
    expect(new Set(ids).size).toBe(ids.length);
    expect(ids).not.toContain(id);
    for (const other of ids) {
      expect(wordOf(other)).toBe(wordOf(id));
    }
  }
  expect(found).toBeGreaterThan(0);
});
