/** A regular expression of a schema as an expression over the characters of a JSON string, each as it is written there. */
import { badGrammar } from './code.ts';
import { choice, choiceOf, repeat, sequenceOf, text, type Expression, type Range } from './expression.ts';
import { newScanner, takeTimes } from './scanner.ts';
import { complement } from './utf8.ts';

/** @throws UserError for what is more than alternatives, classes, groups and repetitions. */
export function patternExpression(pattern: string): Expression {
  const scanner = newScanner(pattern);
  const { take, peek, isAtEnd } = scanner;
  const unsupported = (what = peek(10)): Error =>
    badGrammar(
      `the pattern ${JSON.stringify(pattern.slice(0, 100))} has ${JSON.stringify(what)}, which is not supported`,
    );

  const classOf = (letter: string): readonly Range[] | null => {
    const known = classes[letter.toLowerCase()];
    if (known === undefined) return null;
    return letter === letter.toLowerCase() ? known : complement(known);
  };
  /** The character that begins with this half of a surrogate pair, whose other half follows; any other is whole. */
  const whole = (unit: number): number => {
    if (unit < 0xd800 || unit > 0xdfff) return unit;
    const low = unit < 0xdc00 ? take(/\\u[dD][c-fC-F][0-9a-fA-F]{2}/y) : null;
    if (low === null) throw unsupported(`\\u${unit.toString(16)}`);
    return String.fromCharCode(unit, parseInt(low.slice(2), 16)).codePointAt(0)!;
  };
  /** A character, or a class, behind a backslash. */
  const escaped = (): readonly Range[] => {
    const code = take(/x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}/y);
    if (code !== null) return single(whole(parseInt(code.slice(1), 16)));
    // With a flag a code point, without it as many letters.
    if (peek(2) === 'u{') throw unsupported();
    const letter = take(/[^]/uy);
    if (letter === null || /[1-9bBkpPcC]/.test(letter)) throw unsupported();
    return classOf(letter) ?? single((named[letter] ?? letter).codePointAt(0)!);
  };
  const inClass = (): readonly Range[] => {
    if (isAtEnd()) throw unsupported();
    return take(/\\/y) ? escaped() : single(take(/[^]/uy)!.codePointAt(0)!);
  };
  const bracket = (): Expression => {
    const isNegated = take(/\^/y) !== null;
    const ranges: Range[] = [];
    while (!take(/\]/y)) {
      const first = inClass();
      if (!isSingle(first) || !take(/-(?!\])/y)) {
        ranges.push(...first);
        continue;
      }
      const last = inClass();
      const [from, to] = [first[0]![0], last[0]![1]];
      // Beside a class a minus means itself.
      if (!isSingle(last)) ranges.push(...first, ...single(0x2d), ...last);
      else if (from <= to) ranges.push([from, to]);
      else throw unsupported(`${String.fromCodePoint(from)}-${String.fromCodePoint(to)}`);
    }
    return inString(isNegated ? complement(ranges) : ranges);
  };
  const atom = (depth: number): Expression | null => {
    if (isAtEnd() || /[|)]/.test(peek(1))) return null;
    if (take(/\(/y)) {
      if (take(/\?(?!:)/y)) throw unsupported();
      take(/\?:/y);
      const inner = alternatives(depth + 1);
      if (!take(/\)/y)) throw unsupported();
      return inner;
    }
    if (take(/\[/y)) return bracket();
    if (take(/\./y)) return inString(complement([[0x0a, 0x0a], [0x0d, 0x0d], [0x2028, 0x2029]])); // prettier-ignore
    if (take(/\\/y)) return inString(escaped());
    if (/[\^$*+?{}]/.test(peek(1))) throw unsupported();
    return inString(single(take(/[^]/uy)!.codePointAt(0)!));
  };
  const repeated = (part: Expression): Expression => {
    const times = takeTimes(scanner);
    if (times === null) return part;
    // A lazy repetition, with a second mark, fits the same texts as a greedy one.
    take(/\?/y);
    return repeat(part, times.least, times.most);
  };
  const alternatives = (depth: number): Expression => {
    if (depth > 100) throw badGrammar('its pattern is nested too deep');
    const options: Expression[] = [];
    do {
      const parts: Expression[] = [];
      const isAnchored = depth === 0 && take(/\^/y) !== null;
      for (let one = atEnd() ? null : atom(depth); one !== null; one = atEnd() ? null : atom(depth))
        parts.push(repeated(one));
      const isEnded = depth === 0 && take(/\$/y) !== null;
      if (depth === 0 && !isAnchored) parts.unshift(anything);
      if (depth === 0 && !isEnded) parts.push(anything);
      options.push(sequenceOf(parts));
    } while (take(/\|/y));
    return choiceOf(options);
    function atEnd(): boolean {
      return depth === 0 && /^\$(?:\||$)/.test(peek(2));
    }
  };
  const all = alternatives(0);
  if (!isAtEnd()) throw unsupported();
  return all;
}

const single = (code: number): readonly Range[] => [[code, code]];
const isSingle = (ranges: readonly Range[]): boolean => ranges.length === 1 && ranges[0]![0] === ranges[0]![1];
const named: Readonly<Record<string, string>> = { n: '\n', r: '\r', t: '\t', f: '\f', v: '\v', 0: '\0' };
const classes: Readonly<Record<string, readonly Range[]>> = {
  d: [[0x30, 0x39]],
  w: [[0x30, 0x39], [0x41, 0x5a], [0x5f, 0x5f], [0x61, 0x7a]], // prettier-ignore
  s: [[0x09, 0x0d], [0x20, 0x20], [0xa0, 0xa0], [0x1680, 0x1680], [0x2000, 0x200a], [0x2028, 0x2029], [0x202f, 0x202f], [0x205f, 0x205f], [0x3000, 0x3000], [0xfeff, 0xfeff]], // prettier-ignore
};

/** Characters that a JSON string escapes, and how. */
const spelled: readonly (readonly [code: number, as: string])[] = [
  [0x22, '\\"'],
  [0x5c, '\\\\'],
  [0x0a, '\\n'],
  [0x0d, '\\r'],
  [0x09, '\\t'],
  [0x08, '\\b'],
  [0x0c, '\\f'],
];
/** Characters that a JSON string must escape. */
const unspellable: readonly Range[] = [[0, 0x1f], [0x22, 0x22], [0x5c, 0x5c]]; // prettier-ignore

/** Characters of these ranges as a JSON string has them. */
export function inString(ranges: readonly Range[]): Expression {
  const has = (code: number): boolean => ranges.some(([first, last]) => code >= first && code <= last);
  const plain = complement([...complement(ranges), ...unspellable]);
  return choice(
    ...(plain.length > 0 ? [{ kind: 'characters', ranges: plain, isNegated: false } as const] : []),
    ...spelled.filter(([code]) => has(code)).map(([, as]) => text(as)),
  );
}

const anything = repeat(inString([[0, 0x10ffff]]), 0, null);
