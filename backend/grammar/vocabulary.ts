/** The tokens of a vocabulary by their bytes, as a tree that is walked in one loop. Knows no grammar. */
import type { Steps } from '../data/steps.ts';
import type { Tokenizer } from '../data/tokenizer/tokenizer.ts';

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
  /** The token with these bytes; −1 if there is none. */
  readonly tokens: Int32Array;
  /** Another token of the same bytes, by token; −1 if there is none. */
  readonly twins: Int32Array;
  readonly deepest: number;
}

const stepTokens = 4_096;
/** Longer ones are left out, as are those without bytes. */
const mostBytes = 1_024;

export function* readVocabulary(tokenizer: TokenTexts): Steps<Vocabulary> {
  const size = tokenizer.vocabularySize;
  // By their first two bytes, so that no step sorts many. As Latin-1 they compare as their bytes do.
  const groups = new Map<number, { readonly id: number; readonly bytes: Uint8Array; readonly key: string }[]>();
  for (let id = 0; id < size; id++) {
    const bytes = tokenizer.isText(id) ? tokenizer.tokenBytes(id) : none;
    if (id % stepTokens === 0) yield;
    if (bytes.length === 0 || bytes.length > mostBytes) continue;
    const place = bytes[0]! * 257 + (bytes.length > 1 ? 1 + bytes[1]! : 0);
    let group = groups.get(place);
    if (group === undefined) groups.set(place, (group = []));
    group.push({ id, bytes, key: Buffer.from(bytes).toString('latin1') });
  }
  const bytes: number[] = [];
  const depths: number[] = [];
  const tokens: number[] = [];
  const twins = new Int32Array(size).fill(-1);
  let before: Uint8Array = none;
  let reported = 0;
  for (const place of [...groups.keys()].sort((a, b) => a - b)) {
    const group = groups.get(place)!.sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : a.id - b.id));
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
    if (bytes.length - reported < stepTokens) continue;
    reported = bytes.length;
    yield;
  }
  let deepest = 0;
  for (const depth of depths) deepest = Math.max(deepest, depth);
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
    deepest,
  };
}

const none = new Uint8Array(0);
