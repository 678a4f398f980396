/**
 * Rules as one list of numbers over bytes: each alternative of a rule is a run of operators that ends with `end`. Repetitions have become
 * rules that name themselves last, so that what is left to match never grows with them.
 */
import { userError, type UserError } from '../../protocol/errors.ts';
import type { Steps } from '../data/steps.ts';
import type { Expression, Range, Rules } from './expression.ts';
import { byteRanges, complement } from './utf8.ts';

export const end = 0x7fff_ffff;

export interface Code {
  /** n ≥ 0: a byte of set n; n < 0: rule −1 − n; or `end`. */
  readonly operators: Int32Array;
  /** `[256]`, 1 if the set contains the byte. */
  readonly sets: readonly Uint8Array[];
  /** For each rule, the places of its alternatives; the first rule is the root. */
  readonly rules: readonly (readonly number[])[];
}

/** What a grammar may be: a hostile one must not take the memory or the time of others. */
const mostOperators = 200_000;
const mostDepth = 200;
const stepOperators = 4_096;

export const badGrammar = (what: string): UserError =>
  userError('bad-argument', `The grammar cannot be used: ${what}.`);

/** Without the alternatives that no text fits, since a rule in them never ends. @throws UserError if no text fits the root. */
export function withoutDeadEnds({ operators, sets, rules }: Code): Code {
  const isEmpty = sets.map((set) => !set.includes(1));
  const hasEnd = new Uint8Array(rules.length);
  /** By rule: the alternatives that wait for it to have an end. */
  const waiting = rules.map((): { readonly of: number; missing: number }[] => []);
  const ended: number[] = [];
  const setEnded = (rule: number): void => {
    if (hasEnd[rule] === 1) return;
    hasEnd[rule] = 1;
    ended.push(rule);
  };
  const namedIn = (start: number): Set<number> | null => {
    const named = new Set<number>();
    for (let at = start; operators[at] !== end; at++) {
      const operator = operators[at]!;
      if (operator < 0) named.add(-1 - operator);
      else if (isEmpty[operator]) return null;
    }
    return named;
  };
  for (const [of, starts] of rules.entries())
    for (const start of starts) {
      const named = namedIn(start);
      if (named?.size === 0) setEnded(of);
      const alternative = { of, missing: named?.size ?? 0 };
      for (const rule of named ?? []) waiting[rule]!.push(alternative);
    }
  for (let rule = ended.pop(); rule !== undefined; rule = ended.pop())
    for (const alternative of waiting[rule]!) if (--alternative.missing === 0) setEnded(alternative.of);
  if (hasEnd[0] === 0) throw badGrammar('no text fits it: a rule in it never ends');
  const isAlive = (start: number): boolean => [...(namedIn(start) ?? [-1])].every((rule) => hasEnd[rule] === 1);
  return { operators, sets, rules: rules.map((starts) => starts.filter(isAlive)) };
}

/** @throws UserError for rules that are not there, or too many. */
export function* compileRules({ root, rules }: Rules): Steps<Code> {
  const operators: number[] = [];
  const sets: Uint8Array[] = [];
  const setsByKey = new Map<string, number>();
  const starts: number[][] = [[]];
  const numbers = new Map<string, number>([[root, 0]]);
  const waiting = [root];
  const classes = new Map<string, number>();

  const numberOf = (name: string): number => {
    if (!rules.has(name)) throw badGrammar(`there is no rule ${name}`);
    let number = numbers.get(name);
    if (number === undefined) {
      numbers.set(name, (number = starts.push([]) - 1));
      waiting.push(name);
    }
    return -1 - number;
  };
  const put = (alternatives: readonly (readonly number[])[], into = starts.push([]) - 1): number => {
    for (const each of alternatives) {
      starts[into]!.push(operators.length);
      for (const operator of each) operators.push(operator);
      operators.push(end);
    }
    if (operators.length > mostOperators) throw badGrammar(`it has more than ${mostOperators} parts`);
    return -1 - into;
  };
  const setOf = (ranges: readonly Range[]): number => {
    const key = ranges.join(' ');
    const known = setsByKey.get(key);
    if (known !== undefined) return known;
    const set = new Uint8Array(256);
    for (const [first, last] of ranges) set.fill(1, first, last + 1);
    setsByKey.set(key, sets.length);
    return sets.push(set) - 1;
  };
  const characters = (ranges: readonly Range[]): number[] => {
    const key = ranges.join(' ');
    const known = classes.get(key);
    if (known !== undefined) return [known];
    const spelled = ranges.flatMap(byteRanges);
    const single = spelled.filter(({ length }) => length === 1).map(([only]) => only!);
    const alternatives = [
      ...(single.length > 0 ? [[setOf(single)]] : []),
      ...spelled.filter(({ length }) => length > 1).map((bytes) => bytes.map((range) => setOf([range]))),
    ];
    const made = alternatives.length === 1 && alternatives[0]!.length === 1 ? alternatives[0]![0]! : put(alternatives);
    classes.set(key, made);
    return [made];
  };
  /** Operators that repetitions ask for, which are counted before they are made: a sequence or a choice gathers those of all its parts. */
  let copied = 0;
  const repeated = (part: readonly number[], least: number, most: number | null): number[] => {
    if (most !== null && most < least) throw badGrammar(`a part of it comes at least ${least} times, at most ${most}`);
    const copies = least + (most === null ? 1 : Math.max(0, most - least));
    copied += least * part.length;
    if (Math.max(copied, copies * (part.length + 2)) > mostOperators)
      throw badGrammar(`it has more than ${mostOperators} parts`);
    const needed = Array.from({ length: least }, () => part).flat();
    if (most === null) {
      const itself = starts.push([]) - 1;
      put([[...part, -1 - itself], []], itself);
      return [...needed, -1 - itself];
    }
    let rest: number[] = [];
    for (let i = least; i < most; i++) rest = [put([[...part, ...rest], []])];
    return [...needed, ...rest];
  };
  const coded = (expression: Expression, depth: number): number[] => {
    if (depth > mostDepth) throw badGrammar(`it is nested deeper than ${mostDepth}`);
    switch (expression.kind) {
      case 'text':
        return Array.from(Buffer.from(expression.text), (byte) => setOf([[byte, byte]]));
      case 'characters':
        return characters(expression.isNegated ? complement(expression.ranges) : expression.ranges);
      case 'sequence':
        return expression.parts.flatMap((part) => coded(part, depth + 1));
      case 'choice': {
        const options = expression.options.map((option) => coded(option, depth + 1));
        return options.length === 1 ? options[0]! : [put(options)];
      }
      case 'repeat': {
        const { least, most } = expression;
        // A part of several operators is a rule of its own, so that copies of it are short.
        const part = coded(expression.part, depth + 1);
        return repeated(part.length > 1 ? [put([part])] : part, least, most);
      }
      case 'rule':
        return [numberOf(expression.name)];
    }
  };

  for (let done = 0; done < waiting.length; done++) {
    const name = waiting[done]!;
    const expression = rules.get(name);
    if (expression === undefined) throw badGrammar(`there is no rule ${name}`);
    const before = operators.length;
    const options = expression.kind === 'choice' ? expression.options : [expression];
    put(
      options.map((option) => coded(option, 0)),
      numbers.get(name),
    );
    if (Math.floor(before / stepOperators) < Math.floor(operators.length / stepOperators)) yield;
  }
  return { operators: Int32Array.from(operators), sets, rules: starts };
}
