/** Grammars over bytes alone, for tests: what fits, and texts that are drawn of one. */
import { finish } from '../../backend/data/steps.ts';
import { compileRules } from '../../backend/grammar/code.ts';
import type { Rules } from '../../backend/grammar/expression.ts';
import { newStates, type State } from '../../backend/grammar/states.ts';
import { seededRandom } from '../../backend/decoding/sampling/random.ts';

/** Whether a whole text fits, and whether a beginning does. */
export function fitting(rules: Rules): {
  readonly whole: (text: string) => boolean;
  readonly beginning: (text: string) => boolean;
} {
  const states = newStates(finish(compileRules(rules)));
  const read = (text: string): State | null => {
    let state: State | null = states.root;
    for (const byte of Buffer.from(text)) state = state && states.after(state, byte);
    return state;
  };
  return { whole: (text) => read(text)?.isEnd ?? false, beginning: (text) => read(text) !== null };
}

/** A text that a grammar lets through, drawn byte by byte; it ends as soon as it may, more or less. */
export function drawn(rules: Rules, seed: number, most = 4_000): string {
  const random = seededRandom(seed);
  const states = newStates(finish(compileRules(rules)));
  const bytes: number[] = [];
  let state = states.root;
  // After this number, the token that closes most is taken.
  const hurry = 60 + Math.floor(random() * 100);
  while (bytes.length < most) {
    const next = Array.from({ length: 256 }, (_, byte) => ({ byte, state: states.after(state, byte) }));
    const able = next.filter((each) => each.state !== null);
    if (state.isEnd && (able.length === 0 || random() < 0.3 || bytes.length > hurry)) break;
    const depth = (each: State): number =>
      Math.min(...each.stacks.map((stack) => lengthOf(stack)), each.isEnd ? 0 : Infinity);
    const least = Math.min(...able.map((each) => depth(each.state!)));
    const closing = able.filter((each) => depth(each.state!) === least);
    const from = bytes.length > hurry ? closing : able;
    const chosen = from[Math.floor(random() * from.length)]!;
    bytes.push(chosen.byte);
    state = chosen.state!;
  }
  return Buffer.from(bytes).toString();
}

function lengthOf(stack: State['stacks'][number]): number {
  let length = 0;
  for (let at: typeof stack | null = stack; at !== null; at = at.below) length++;
  return length;
}
