/** Random texts come back from every tokenizer as they were; damaged tokenizer files are used or refused, nothing else. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { tokenBytes } from '../../../backend/data/tokenizer/token-bytes.ts';
import { checkTokenizerFile } from '../../../backend/data/tokenizer/file.ts';
import { loadTokenizer } from '../../../backend/data/tokenizer/tokenizer.ts';
import { UserError } from '../../../protocol/errors.ts';
import { random } from '../../support/random.ts';
import { writeAnew } from '../../support/write-anew.ts';
import { temporaryFolder } from '../formats/fixtures.ts';
import { byteLevelFile, golden, sentencePieceFile, type Golden } from './fixtures.ts';

const alphabet = [...'aZ09 \t\n\r\'".,-_(){}<|>/=é東🙂ß\u0301\u00a0\ufeff\u0085²\u200d👩▁'];

function randomText(next: () => number): string {
  const any = (): string => String.fromCodePoint(Math.floor(next() * 0xd800));
  const length = Math.floor(next() * 40);
  return Array.from({ length }, () => (next() < 0.9 ? alphabet[Math.floor(next() * alphabet.length)]! : any())).join(
    '',
  );
}

describe('random texts', () => {
  const folder = temporaryFolder;
  it.each([
    ['gpt-2', () => byteLevelFile(folder(), 'gpt-2')],
    ['default', () => byteLevelFile(folder(), 'default')],
    ['llama-bpe', () => byteLevelFile(folder(), 'llama-bpe')],
    ['tekken', () => byteLevelFile(folder(), 'tekken')],
    ['typescript-5m', () => 'models/typescript-5m'],
    ['SentencePiece', () => sentencePieceFile(folder())],
  ])('%s: 1,000 texts, whole and as streams', (kind, path) => {
    const tokenizer = loadTokenizer(path());
    const next = random(11);
    for (let round = 0; round < 1000; round++) {
      // SentencePiece writes spaces as ▁ and cannot tell the two apart.
      const text = kind === 'SentencePiece' ? randomText(next).replaceAll('▁', ' ') : randomText(next);
      const ids = tokenizer.encode(text, { addSpecial: false });
      expect(tokenizer.decode(ids)).toBe(text);
      const decoder = tokenizer.decoder();
      const streamed = ids.map((id) => decoder.push(id)).join('') + decoder.flush();
      expect(streamed).toBe(kind === 'SentencePiece' && text !== '' ? ` ${text}` : text);
      const inside = tokenizer.encodeInside(text).map((id) => tokenizer.tokenBytes(id));
      expect(Buffer.concat(inside).toString()).toBe(text);
    }
  });
});

describe('damaged tokenizers', () => {
  /** Replaces a random value somewhere in the tree. */
  function damage(value: unknown, next: () => number): unknown {
    const others = [null, true, -1, 1e12, '', 'x', [], {}, [[]], { type: 'X' }];
    if (next() < 0.2 || typeof value !== 'object' || value === null) return others[Math.floor(next() * others.length)];
    const keys = Object.keys(value);
    const key = keys[Math.floor(next() * keys.length)];
    if (key === undefined) return others[Math.floor(next() * others.length)];
    const changed = damage((value as Record<string, unknown>)[key], next);
    return Array.isArray(value)
      ? value.map((item: unknown, i) => (String(i) === key ? changed : item))
      : { ...value, [key]: changed };
  }

  it('tokenizer.json: 1,000 mutations', () => {
    const folder = temporaryFolder();
    const original = small(golden<Golden & { tokenizer: object }>('byte-level').tokenizer);
    const next = random(12);
    const counts = { accepted: 0, refused: 0 };
    for (let round = 0; round < 1000; round++) {
      writeAnew(join(folder, 'tokenizer.json'), JSON.stringify(damage(original, next)));
      counts[used(folder) ? 'accepted' : 'refused'] += 1;
    }
    expect(counts.accepted).toBeGreaterThan(100);
    expect(counts.refused).toBeGreaterThan(100);
  });

  it('tokenizer.json: very many added tokens', () => {
    const added_tokens = Array.from({ length: 300_000 }, (_, id) => ({ id, content: `<${id}>`, special: true }));
    const model = { type: 'BPE', vocab: { a: 0 }, merges: [] };
    const json = checkTokenizerFile('a', { model, added_tokens, decoder: { type: 'ByteLevel' } });
    expect(tokenBytes('a', json).size).toBe(300_000);
  });

  it('GGUF: 1,000 mutations', () => {
    const path = byteLevelFile(temporaryFolder(), 'smollm');
    const original = readFileSync(path);
    const next = random(13);
    const counts = { accepted: 0, refused: 0 };
    for (let round = 0; round < 1000; round++) {
      const bytes = Buffer.from(original);
      bytes[Math.floor(next() * bytes.length)] = Math.floor(next() * 256);
      writeAnew(path, bytes);
      counts[used(path) ? 'accepted' : 'refused'] += 1;
    }
    expect(counts.accepted).toBeGreaterThan(100);
    expect(counts.refused).toBeGreaterThan(100);
  });

  /** Fewer tokens, so that damage meets the rest of the file too. */
  function small(file: object): object {
    const { model, ...rest } = file as { model: { vocab: Record<string, number>; merges: unknown[] } };
    const vocab = Object.fromEntries(Object.entries(model.vocab).filter(([, id]) => id < 300));
    return { ...rest, model: { ...model, vocab, merges: [] } };
  }

  function used(path: string): boolean {
    try {
      const tokenizer = loadTokenizer(path);
      const ids = tokenizer.encode('const x = 1; // é');
      expect(ids.every((id) => Number.isInteger(id) && id >= 0 && id < tokenizer.vocabularySize)).toBe(true);
      tokenizer.decode(ids);
      return true;
    } catch (error) {
      if (error instanceof UserError) return false;
      throw error;
    }
  }
});
