/** A grammar over the tokens of a vocabulary: the tokens that may come next, in the form that decoding needs. Knows no logits. */
import { emptyMask, putInMask, type Allowed } from '../data/prompts/allowed.ts';
import type { Steps } from '../data/steps.ts';
import { badGrammar, compileRules, withoutDeadEnds, type Code } from './code.ts';
import type { Rules } from './expression.ts';
import { newStates, type State, type States } from './states.ts';
import type { TokenTexts, Vocabulary } from './vocabulary.ts';

/** Work on one mask: of a grammar that takes more, some tokens that it allows are left out. */
const mostMaskWork = 300_000;
/** Work on a grammar before the first token. */
const mostCheckWork = 4_000_000;
const checkStep = 20_000;
/** Bytes that are followed if each is the only one that may come. */
const mostForced = 1_000;

/** @throws UserError for a grammar that cannot be used, or takes too much. */
export function* openGrammar(
  rules: Rules,
  tokenizer: TokenTexts,
  vocabulary: Vocabulary,
  ends: readonly number[],
): Steps<Allowed> {
  const code = yield* compileRules(rules);
  yield* checkRules(code);
  const states = newStates(withoutDeadEnds(code));
  checkBeginning(states);
  return allowedIn(states.root, { states, tokenizer, vocabulary, ends });
}

/** Computes each rule's first bytes, which never ends for a left-recursive rule. */
function* checkRules(code: Code): Steps<void> {
  const states = newStates(code);
  let reported = 0;
  for (const [rule, starts] of code.rules.entries()) {
    if (starts.length > 0 && states.startOf(rule) === states.givenUp)
      throw badGrammar('a rule begins with itself, or in too many ways');
    if (states.work > mostCheckWork) throw badGrammar('it is too large');
    if (states.work - reported < checkStep) continue;
    reported = states.work;
    yield;
  }
}

/** Bytes that every text begins with, and those that may come behind them. */
function checkBeginning(states: States): void {
  for (let state = states.root, known = 0; known < mostForced; known++) {
    if (state === states.givenUp) throw badGrammar('it can begin in too many ways');
    const next = Array.from({ length: 256 }, (_, byte) => states.after(state, byte)).filter((each) => each !== null);
    if (next.includes(states.givenUp)) throw badGrammar('it can begin in too many ways');
    if (next.length !== 1) return;
    state = next[0]!;
  }
}

interface Open {
  readonly states: States;
  readonly tokenizer: TokenTexts;
  readonly vocabulary: Vocabulary;
  /** Tokens that end the text. */
  readonly ends: readonly number[];
}

/** One value for each state. */
function allowedIn(state: State, open: Open): Allowed {
  return (state.attached ??= newAllowed(state, open)) as Allowed;
}

function newAllowed(state: State, open: Open): Allowed {
  const { states, tokenizer, ends, vocabulary } = open;
  let mask: Uint32Array | null | undefined;
  const after = (token: number): State | null => {
    if (!tokenizer.isText(token)) return null;
    const bytes = tokenizer.tokenBytes(token);
    let at: State | null = bytes.length > 0 ? state : null;
    for (let i = 0; i < bytes.length && at !== null; i++) at = states.after(at, bytes[i]!);
    return at;
  };
  return {
    // Not by the mask, which may lack tokens: the answer must be the same whether there is one yet or not.
    allows: (token) => (ends.includes(token) ? state.isEnd : after(token) !== null),
    mask: () => (mask === undefined ? (mask = maskOf(state, open)) : mask),
    after(token) {
      const next = after(token);
      return next === null ? lost : allowedIn(next, open);
    },
    end: state.stacks.length > 0 ? null : state.isEnd ? 'complete' : 'given-up',
  };

  function maskOf(from: State, { states: all }: Open): Uint32Array | null {
    const { bytes, depths, skips, tokens, twins, size, deepest } = vocabulary;
    const bits = emptyMask(Math.max(size, ...ends.map((id) => id + 1)));
    const path = new Array<State>(deepest + 1);
    const limit = all.work + mostMaskWork;
    path[0] = from;
    for (let node = 0; node < bytes.length;) {
      const depth = depths[node]!;
      const before = path[depth - 1]!;
      let next = before.next[bytes[node]!];
      if (next === undefined) {
        if (all.work > limit) break;
        next = all.after(before, bytes[node]!);
      }
      if (next === null) {
        node = skips[node]!;
        continue;
      }
      path[depth] = next;
      for (let id = tokens[node]!; id >= 0; id = twins[id]!) bits[id >>> 5]! |= 1 << (id & 31);
      node++;
    }
    for (const id of ends) {
      if (from.isEnd) putInMask(bits, id);
      else bits[id >>> 5]! &= ~(1 << (id & 31));
    }
    return bits.some((some) => some !== 0) ? bits : null;
  }
}

/** Behind a token that was not allowed. */
const lost: Allowed = { allows: () => false, mask: () => null, after: () => lost, end: 'given-up' };
