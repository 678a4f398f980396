/** GBNF, the grammars of llama.cpp (grammars/README.md there), as rules. */
import { badGrammar } from './code.ts';
import { choice, repeat, rule, sequence, text, type Expression, type Range, type Rules } from './expression.ts';

const mostDepth = 200;

/** @throws UserError with the line, for a text that is no GBNF. */
export function parseGbnf(source: string): Rules {
  let at = 0;
  const rules = new Map<string, Expression>();

  const wrong = (expected: string): Error => {
    const line = source.slice(0, at).split('\n').length;
    const found = at < source.length ? JSON.stringify(source.slice(at, at + 20)) : 'its end';
    return badGrammar(`line ${line} has ${found} in the place of ${expected}`);
  };
  const take = (pattern: RegExp): string | null => {
    pattern.lastIndex = at;
    const found = pattern.exec(source)?.[0] ?? null;
    if (found !== null) at += found.length;
    return found;
  };
  const need = (pattern: RegExp, expected: string): string => {
    const found = take(pattern);
    if (found === null) throw wrong(expected);
    return found;
  };
  const blank = (overLines: boolean): void => void take(overLines ? /(?:\s|#[^\n]*)*/y : /(?:[ \t]|#[^\n]*)*/y);

  const character = (): number => {
    const escape = take(/\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[nrt"\\[\]'-])/y);
    if (escape !== null) {
      const letter = escape[1]!;
      if ('xuU'.includes(letter)) {
        const code = parseInt(escape.slice(2), 16);
        if (code > 0x10ffff) throw wrong('a character that there is');
        return code;
      }
      return (named[letter] ?? letter).codePointAt(0)!;
    }
    if (source[at] === '\\') throw wrong('an escape such as \\n or \\u00e4');
    return need(/[^]/uy, 'a character').codePointAt(0)!;
  };
  const quoted = (): Expression => {
    const codes: number[] = [];
    while (source[at] !== '"') {
      if (at >= source.length || source[at] === '\n') throw wrong('the end of a text');
      codes.push(character());
    }
    at++;
    return text(codes.map((code) => String.fromCodePoint(code)).join(''));
  };
  const characters = (): Expression => {
    const isNegated = take(/\^/y) !== null;
    const ranges: Range[] = [];
    while (source[at] !== ']') {
      if (at >= source.length) throw wrong(']');
      const first = character();
      const last = take(/-(?!\])/y) === null ? first : character();
      if (last < first) throw wrong('a range that goes up');
      ranges.push([first, last]);
    }
    at++;
    return { kind: 'characters', ranges, isNegated };
  };
  const item = (depth: number): Expression | null => {
    if (take(/"/y)) return quoted();
    if (take(/\[/y)) return characters();
    if (take(/\./y)) return { kind: 'characters', ranges: [], isNegated: true };
    if (take(/\(/y)) {
      blank(true);
      const inner = alternatives(depth + 1, true);
      need(/\)/y, ')');
      return inner;
    }
    const name = take(/[a-zA-Z0-9_-]+/y);
    return name === null ? null : rule(name);
  };
  const repeated = (part: Expression): Expression => {
    const sign = take(/[*+?]|\{\d{1,6}(?:,\d{0,6})?\}/y);
    if (sign === null) return part;
    if (sign === '*') return repeat(part, 0, null);
    if (sign === '+') return repeat(part, 1, null);
    if (sign === '?') return repeat(part, 0, 1);
    const [least = '', most] = sign.slice(1, -1).split(',');
    return repeat(part, Number(least), most === undefined ? Number(least) : most === '' ? null : Number(most));
  };
  const alternatives = (depth: number, inGroup: boolean): Expression => {
    if (depth > mostDepth) throw badGrammar(`it is nested deeper than ${mostDepth}`);
    const options: Expression[] = [];
    do {
      blank(true);
      const parts: Expression[] = [];
      // A rule that has a name of its own begins on a new line.
      while (inGroup || !nextRule.test(source.slice(at, at + 200))) {
        const one = item(depth);
        if (one === null) break;
        parts.push(repeated(one));
        blank(inGroup);
      }
      options.push(parts.length === 1 ? parts[0]! : sequence(...parts));
      blank(inGroup);
    } while (take(/\|/y));
    return options.length === 1 ? options[0]! : choice(...options);
  };

  for (blank(true); at < source.length; blank(true)) {
    const name = need(/[a-zA-Z0-9_-]+/y, 'the name of a rule');
    blank(false);
    need(/::=/y, '::=');
    rules.set(name, alternatives(0, false));
    blank(false);
    if (at < source.length) need(/\r?\n/y, 'a line end');
  }
  if (!rules.has('root')) throw badGrammar('there is no rule root');
  return { root: 'root', rules };
}

const named: Readonly<Record<string, string>> = { n: '\n', r: '\r', t: '\t' };
const nextRule = /^[a-zA-Z0-9_-]+[ \t]*::=/;
