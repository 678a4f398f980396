import { describe, expect, it } from 'vitest';
import {
  chunkAround,
  chunkLines,
  chunksBeside,
  jaccard,
  mostChunks,
  withChunk,
  type Chunk,
} from '../../../../extension/completions/chunks.ts';

const linesOf = (name: string, count = 64): string[] => Array.from({ length: count }, (_, i) => `${name} ${i}`);
const chunk = (name: string): Chunk => ({ file: `${name}.ts`, text: linesOf(name).join('\n') });
const all = (names: readonly string[]): readonly Chunk[] =>
  names.reduce((chunks: readonly Chunk[], name) => withChunk(chunks, chunk(name)), []);
const namesOf = (chunks: readonly Chunk[]): string[] => chunks.map(({ file }) => file.replace('.ts', ''));

describe('the piece around a line', () => {
  it('has 64 lines, fewer only where the file has no more', () => {
    const lines = linesOf('a', 200);
    expect(chunkAround(lines, 100).split('\n')).toEqual(lines.slice(68, 132));
    expect(chunkAround(lines, 3).split('\n')).toEqual(lines.slice(0, chunkLines));
    expect(chunkAround(lines, 199).split('\n')).toEqual(lines.slice(136));
    expect(chunkAround(lines.slice(0, 5), 2).split('\n')).toHaveLength(5);
  });
});

describe('pieces', () => {
  it('keep their order, the newest last', () => expect(namesOf(all(['a', 'b', 'c']))).toEqual(['a', 'b', 'c']));

  it('are the same list where nothing is new', () => {
    const chunks = all(['a', 'b']);
    expect(withChunk(chunks, chunk('a'))).toBe(chunks);
    expect(withChunk(chunks, { file: 'c.ts', text: 'a\n\n}' })).toBe(chunks);
    const lines = linesOf('x'.repeat(300)).join('\n');
    expect(withChunk(chunks, { file: 'c.ts', text: lines })).toBe(chunks);
  });

  it('give way to what is nearly they', () => {
    const edited = { ...chunk('a'), text: chunk('a').text.replace('a 7\n', 'something else\n') };
    const chunks = withChunk(all(['a', 'b']), edited);
    expect(namesOf(chunks)).toEqual(['b', 'a']);
    expect(chunks[1]).toBe(edited);
  });

  it('are at most 16, of which the oldest go several at once', () => {
    const names = Array.from({ length: 20 }, (_, i) => `f${i}`);
    const full = all(names.slice(0, mostChunks));
    expect(full).toHaveLength(mostChunks);
    expect(namesOf(withChunk(full, chunk('f16')))).toEqual(names.slice(4, 17));
    expect(namesOf(all(names))).toEqual(names.slice(4));
  });

  it('of the same file are left out where they are seen anyway', () => {
    const chunks = all(['a', 'b']);
    expect(namesOf(chunksBeside(chunks, 'a.ts', chunk('a').text))).toEqual(['b']);
    expect(namesOf(chunksBeside(chunks, 'a.ts', 'other text'))).toEqual(['a', 'b']);
    expect(namesOf(chunksBeside(chunks, 'c.ts', chunk('a').text))).toEqual(['a', 'b']);
  });
});

it('the share of common lines', () => {
  expect(jaccard(new Set(['a', 'b', 'c']), new Set(['b', 'c', 'd']))).toBe(0.5);
  expect(jaccard(new Set(['a']), new Set(['b']))).toBe(0);
  expect(jaccard(new Set(), new Set())).toBe(1);
});
