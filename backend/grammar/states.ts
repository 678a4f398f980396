/**
 * The position of a text in a grammar, byte by byte. A state is a set of stacks of what is left to match. Equal states are one object,
 * which remembers the state behind each byte, so that states and bytes become a table while texts are written. After llama.cpp's matcher.
 */
import { end, type Code } from './code.ts';

/** What is left to match: the operators from one on, then those of the stack below. */
interface Stack {
  readonly at: number;
  readonly below: Stack | null;
  readonly id: number;
}

export interface State {
  /** The text may end here. */
  readonly isEnd: boolean;
  /** Each begins with a byte that is to be matched. */
  readonly stacks: readonly Stack[];
  /** By byte; null if it may not come. Made on demand. */
  readonly next: (State | null | undefined)[];
  /** Data that users of states attach to them. */
  attached: unknown;
}

export interface States {
  readonly root: State;
  /** The state if too many alternatives are open: nothing can follow. */
  readonly givenUp: State;
  /** The state at the beginning of a rule alone. */
  startOf(rule: number): State;
  /** Null if a byte may not come. */
  after(state: State, byte: number): State | null;
  /** Work done so far: places looked at. */
  readonly work: number;
}

/** Most visits of a place for one byte: beyond that the grammar is ambiguous or left-recursive. */
const mostPlaces = 20_000;
const mostStacks = 1_000;
/** What is remembered; beyond, it is forgotten and begun anew. */
const mostStates = 2_048;
const mostKnownStacks = 262_144;

const newState = (isEnd: boolean, stacks: readonly Stack[]): State => ({
  isEnd,
  stacks,
  next: new Array<State | null | undefined>(256),
  attached: null,
});

export function newStates({ operators, sets, rules }: Code): States {
  const known = new Map<string, State>();
  /** States that remember what they lead to: known ones, and those that outlived their being known, as the root does. */
  const remembering = new Set<State>();
  const givenUp = newState(false, []);
  let stacks = new Map<Stack | null, Map<number, Stack>>();
  let ids = 0;
  let forgotten = 0;
  let work = 0;

  const stack = (at: number, below: Stack | null): Stack => {
    let above = stacks.get(below);
    if (above === undefined) stacks.set(below, (above = new Map<number, Stack>()));
    let one = above.get(at);
    if (one === undefined) above.set(at, (one = { at, below, id: ids++ }));
    return one;
  };

  /** All places at which a byte is matched next, from these on. */
  const stateAt = (from: readonly Stack[]): State => {
    if (known.size > mostStates || ids - forgotten > mostKnownStacks) {
      // What states lead to is forgotten, too: the first leads to all of them.
      for (const state of remembering) {
        state.next.fill(undefined);
        state.attached = null;
      }
      remembering.clear();
      known.clear();
      stacks = new Map();
      forgotten = ids;
    }
    const found = new Set<Stack>();
    const seen = new Set<Stack>(from);
    const waiting = [...from];
    let isEnd = false;
    const visit = (at: number, below: Stack | null): void => {
      const one = stack(at, below);
      if (seen.has(one)) return;
      seen.add(one);
      waiting.push(one);
    };
    for (let one = waiting.pop(); one !== undefined; one = waiting.pop()) {
      work++;
      if (seen.size > mostPlaces || found.size > mostStacks) return givenUp;
      const { at, below } = one;
      const operator = operators[at]!;
      if (operator === end) {
        if (below === null) isEnd = true;
        else visit(below.at, below.below);
      } else if (operator >= 0) found.add(one);
      else {
        // After a rule that is last in its sequence comes what follows the sequence.
        const rest = operators[at + 1] === end ? below : stack(at + 1, below);
        for (const start of rules[-1 - operator]!) visit(start, rest);
      }
    }
    const all = [...found].sort((a, b) => a.id - b.id);
    const key = `${isEnd ? '.' : ''}${all.map(({ id }) => id).join(',')}`;
    let state = known.get(key);
    if (state === undefined) {
      known.set(key, (state = newState(isEnd, all)));
      remembering.add(state);
    }
    return state;
  };

  const after = (state: State, byte: number): State | null => {
    const remembered = state.next[byte];
    if (remembered !== undefined) return remembered;
    const matched = state.stacks.filter(({ at }) => sets[operators[at]!]![byte] === 1);
    const next = matched.length === 0 ? null : stateAt(matched.map(({ at, below }) => stack(at + 1, below)));
    state.next[byte] = next;
    remembering.add(state);
    return next;
  };

  return {
    startOf: (rule) => stateAt(rules[rule]!.map((start) => stack(start, null))),
    root: stateAt(rules[0]!.map((start) => stack(start, null))),
    givenUp,
    after,
    get work() {
      return work;
    },
  };
}
