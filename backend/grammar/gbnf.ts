/** GBNF, the grammars of llama.cpp (grammars/README.md there), as rules. Those that name tokens are not supported. */
import { badGrammar } from './code.ts';
import { choiceOf, repeat, rule, sequenceOf, text, type Expression, type Range, type Rules } from './expression.ts';
import { newScanner, takeTimes, type Scanner } from './scanner.ts';

const mostDepth = 200;

/** @throws UserError with the line, for a text that is no GBNF. */
export function parseGbnf(source: string): Rules {
  const scanner = newScanner(source);
  const rules = new Map<string, Expression>();
  for (blank(scanner, true); !scanner.isAtEnd(); blank(scanner, true)) {
    const name = need(scanner, /[a-zA-Z0-9_-]+/y, 'the name of a rule');
    blank(scanner, false);
    need(scanner, /::=/y, '::=');
    rules.set(name, alternatives(scanner, 0, false));
    blank(scanner, false);
    if (!scanner.isAtEnd()) need(scanner, /\r?\n/y, 'a line end');
  }
  if (!rules.has('root')) throw badGrammar('there is no rule root');
  return { root: 'root', rules };
}

function alternatives(scanner: Scanner, depth: number, inGroup: boolean): Expression {
  if (depth > mostDepth) throw badGrammar(`it is nested deeper than ${mostDepth}`);
  const options: Expression[] = [];
  do {
    blank(scanner, true);
    const parts: Expression[] = [];
    // A rule that has a name of its own begins on a new line.
    while (inGroup || !nextRule.test(scanner.peek(200))) {
      const one = item(scanner, depth);
      if (one === null) break;
      parts.push(repeated(scanner, one, inGroup));
    }
    options.push(parts.length === 1 ? parts[0]! : sequenceOf(parts));
    blank(scanner, inGroup);
  } while (scanner.take(/\|/y));
  return options.length === 1 ? options[0]! : choiceOf(options);
}

/** A part and the signs of repetition behind it: each repeats all before it. Takes the blanks between and behind them, too. */
function repeated(scanner: Scanner, part: Expression, inGroup: boolean): Expression {
  for (let all = part; ;) {
    blank(scanner, inGroup);
    const times = takeTimes(scanner, true);
    if (times === null) return all;
    all = repeat(all, times.least, times.most);
  }
}

const nextRule = /^[a-zA-Z0-9_-]+[ \t]*::=/;

function item(scanner: Scanner, depth: number): Expression | null {
  const { take } = scanner;
  if (take(/"/y)) return quoted(scanner);
  if (take(/\[/y)) return characters(scanner);
  if (take(/\./y)) return { kind: 'characters', ranges: [], isNegated: true };
  if (take(/\(/y)) {
    blank(scanner, true);
    const inner = alternatives(scanner, depth + 1, true);
    need(scanner, /\)/y, ')');
    return inner;
  }
  if (/[<!]/.test(scanner.peek(1)))
    throw badGrammar(`line ${scanner.line()} names a token, which is not supported: write its text in quotation marks`);
  const name = take(/[a-zA-Z0-9_-]+/y);
  return name === null ? null : rule(name);
}

function quoted(scanner: Scanner): Expression {
  const codes: number[] = [];
  while (!scanner.take(/"/y)) {
    if (scanner.isAtEnd()) throw wrong(scanner, 'the end of a text');
    codes.push(character(scanner));
  }
  return text(codes.map((code) => String.fromCodePoint(code)).join(''));
}

function characters(scanner: Scanner): Expression {
  const { take } = scanner;
  const isNegated = take(/\^/y) !== null;
  const ranges: Range[] = [];
  while (!take(/\]/y)) {
    if (scanner.isAtEnd()) throw wrong(scanner, ']');
    const first = character(scanner);
    const last = take(/-(?!\])/y) === null ? first : character(scanner);
    if (last < first) throw wrong(scanner, 'a range that goes up');
    ranges.push([first, last]);
  }
  return { kind: 'characters', ranges, isNegated };
}

function character(scanner: Scanner): number {
  const escape = scanner.take(/\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[nrt"\\[\]'-])/y);
  if (escape !== null) {
    const letter = escape[1]!;
    if (!'xuU'.includes(letter)) return (named[letter] ?? letter).codePointAt(0)!;
    const code = parseInt(escape.slice(2), 16);
    if (code > 0x10ffff) throw wrong(scanner, 'a character that exists');
    return code;
  }
  if (scanner.peek(1) === '\\') throw wrong(scanner, 'an escape such as \\n or \\u00e4');
  return need(scanner, /[^]/uy, 'a character').codePointAt(0)!;
}

const named: Readonly<Record<string, string>> = { n: '\n', r: '\r', t: '\t' };

const blank = ({ take }: Scanner, overLines: boolean): void =>
  void take(overLines ? /(?:\s|#[^\n]*)*/y : /(?:[ \t]|#[^\n]*)*/y);

function need(scanner: Scanner, pattern: RegExp, expected: string): string {
  const found = scanner.take(pattern);
  if (found === null) throw wrong(scanner, expected);
  return found;
}

function wrong(scanner: Scanner, expected: string): Error {
  const found = scanner.isAtEnd() ? 'its end' : JSON.stringify(scanner.peek(20));
  return badGrammar(`line ${scanner.line()} has ${found} in the place of ${expected}`);
}
