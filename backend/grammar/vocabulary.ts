/** The tokens of a vocabulary by their bytes, as a tree that is walked in one loop. Knows no grammar. */
import type { Steps } from '../data/steps.ts';
import type { Tokenizer } from '../data/tokenizer.ts';

/** What is needed of a tokenizer. */
export type TokenTexts = Pick<Tokenizer, 'vocabularySize' | 'tokenBytes' | 'isText'>;

/** Nodes in the order of a walk; each is one byte more than the node it hangs on. */
export interface Vocabulary {
  readonly size: number;
  readonly bytes: Uint8Array;
  /** How many bytes a node has, from 1 on. */
  readonly depths: Uint16Array;
  /** The next node that does not begin with this one. */
  readonly skips: Int32Array;
  /** The token that is these bytes; −1 where none is. */
  readonly tokens: Int32Array;
  /** Another token of the same bytes, by token; −1 where there is none. */
  readonly twins: Int32Array;
  readonly deepest: number;
}

const stepTokens = 8_192;
/** Longer ones are left out, as are those without bytes. */
const mostBytes = 1_024;

export function* readVocabulary(tokenizer: TokenTexts): Steps<Vocabulary> {
  const size = tokenizer.vocabularySize;
  const byLetter: { id: number; bytes: Uint8Array }[][] = Array.from({ length: 256 }, () => []);
  for (let id = 0; id < size; id++) {
    const bytes = tokenizer.isText(id) ? tokenizer.tokenBytes(id) : none;
    if (bytes.length > 0 && bytes.length <= mostBytes) byLetter[bytes[0]!]!.push({ id, bytes });
    if (id % stepTokens === 0) yield;
  }
  const bytes: number[] = [];
  const depths: number[] = [];
  const tokens: number[] = [];
  const twins = new Int32Array(size).fill(-1);
  for (const group of byLetter) {
    group.sort((a, b) => Buffer.compare(a.bytes, b.bytes) || a.id - b.id);
    let before: Uint8Array = none;
    for (const { id, bytes: own } of group) {
      let common = 0;
      while (common < own.length && own[common] === before[common]) common++;
      if (common === own.length && common === before.length) {
        const first = tokens.at(-1)!;
        twins[id] = twins[first]!;
        twins[first] = id;
        continue;
      }
      for (let i = common; i < own.length; i++) {
        bytes.push(own[i]!);
        depths.push(i + 1);
        tokens.push(i === own.length - 1 ? id : -1);
      }
      before = own;
    }
    yield;
  }
  const skips = new Int32Array(bytes.length);
  const open: number[] = [];
  for (let node = 0; node < bytes.length; node++) {
    while (open.length >= depths[node]!) skips[open.pop()!] = node;
    open.push(node);
  }
  for (const node of open) skips[node] = bytes.length;
  return {
    size,
    bytes: Uint8Array.from(bytes),
    depths: Uint16Array.from(depths),
    skips,
    tokens: Int32Array.from(tokens),
    twins,
    deepest: depths.reduce((most, depth) => Math.max(most, depth), 0),
  };
}

const none = new Uint8Array(0);
