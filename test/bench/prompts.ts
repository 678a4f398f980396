/** Prompts cut from TypeScript. */
import type { Tokenizer } from '../../backend/data/tokenizer/tokenizer.ts';
import { typescriptText } from './material.ts';

/** `count` prompts of `tokens` ids each, from places spread evenly over the TypeScript of a part. */
export function manyPrompts(
  tokenizer: Tokenizer,
  count: number,
  tokens: number,
  part: 'train' | 'heldout' = 'heldout',
): number[][] {
  const all = tokenizer.encode(typescriptText(part).documents.join('\n'), { addSpecial: false });
  const stride = Math.floor((all.length - tokens) / count);
  return Array.from({ length: count }, (_, i) => all.slice(i * stride, i * stride + tokens));
}

/** `tokens` ids of held-out TypeScript from the beginning of a document; another one for each `number`. */
export function promptOf(tokenizer: Tokenizer, tokens: number, number: number): number[] {
  const { documents } = typescriptText('heldout');
  const ids: number[] = [];
  for (let i = 0; ids.length < tokens; i++) {
    ids.push(...tokenizer.encode(documents[(number + i) % documents.length]!, { addSpecial: ids.length === 0 }));
  }
  return ids.slice(0, tokens);
}
