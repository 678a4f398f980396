/** Tokenizers for tests: GGUF files that hold nothing else, made from the golden vocabularies. */
import { readFileSync } from 'node:fs';
import { file, gguf, text, u32, u64 } from '../formats/fixtures.ts';

export interface Golden {
  tokens: string[];
  types: number[];
  merges: string[];
  scores: number[];
  cases: string[];
}

export const golden = <T>(name: string): T =>
  JSON.parse(readFileSync(`test/fixtures/tokenizers/${name}.json`, 'utf8')) as T;

type Entry = [string, number, Buffer];
export const stringEntry = (key: string, value: string): Entry => [key, 8, text(value)];
export const numberEntry = (key: string, value: number): Entry => [key, 4, u32(value)];
export const flagEntry = (key: string, value: boolean): Entry => [key, 7, Buffer.from([value ? 1 : 0])];
export const stringsEntry = (key: string, values: string[]): Entry => [
  key,
  9,
  Buffer.concat([u32(8), u64(values.length), ...values.map(text)]),
];
export const typesEntry = (values: number[]): Entry => [
  'tokenizer.ggml.token_type',
  9,
  Buffer.concat([u32(5), u64(values.length), Buffer.from(Int32Array.from(values).buffer)]),
];
export const scoresEntry = (values: number[]): Entry => [
  'tokenizer.ggml.scores',
  9,
  Buffer.concat([u32(6), u64(values.length), Buffer.from(Float32Array.from(values).buffer)]),
];

/** Writes a GGUF file with a byte-level tokenizer and the given further entries. */
export function byteLevelFile(folder: string, pre: string, more: Entry[] = []): string {
  const { tokens, types, merges } = golden<Golden>('byte-level');
  const entries = [
    stringEntry('tokenizer.ggml.model', 'gpt2'),
    stringEntry('tokenizer.ggml.pre', pre),
    stringsEntry('tokenizer.ggml.tokens', tokens),
    typesEntry(types),
    stringsEntry('tokenizer.ggml.merges', merges),
    ...more,
  ];
  return file(folder, 'byte-level.gguf', gguf({ entries }));
}

export function sentencePieceFile(folder: string, more: Entry[] = [], pieces: string[] = []): string {
  const { tokens, types, scores } = golden<Golden>('sentencepiece');
  const entries = [
    stringEntry('tokenizer.ggml.model', 'llama'),
    stringsEntry('tokenizer.ggml.tokens', [...tokens, ...pieces]),
    typesEntry([...types, ...pieces.map(() => 1)]),
    scoresEntry([...scores, ...pieces.map(() => 0)]),
    ...more,
  ];
  return file(folder, 'sentencepiece.gguf', gguf({ entries }));
}
