/**
 * Reads the `*.exittrace` format (described in exittrace.ts) line by line. The meaning of a line does not depend on its position, so a line
 * that was read before need not be read again: an editor asks after every keystroke. Knows no editor.
 */
import { userError } from './errors.ts';
import { emptyTrace, exitLayer, traceVersion, type Trace } from './exittrace.ts';
import { shownValue } from './foreign.ts';
import { shown } from './shown.ts';
import { stopReasons, type Candidate, type ExitOpinion, type StopReason, type TokenRecord } from './trace.ts';

/** A trace, and the line of its text for each token. */
export interface ParsedTrace {
  trace: Trace;
  /** Line of the file, from 0, of each token; parallel to `trace.tokens`. */
  tokenLines: number[];
  /** For the next reading of the same file. */
  lines: ReadLines;
}

/** Lines by their text. */
export type ReadLines = ReadonlyMap<string, Line>;

type Line =
  | { readonly kind: 'blank' }
  | { readonly kind: 'text'; readonly key: 'model' | 'policy' | 'prompt'; readonly value: string }
  | { readonly kind: 'layers'; readonly layers: number }
  | { readonly kind: 'exits'; readonly exits: readonly string[] }
  | { readonly kind: 'stop'; readonly stop: StopReason }
  | { readonly kind: 'speedup'; readonly speedup: number }
  | { readonly kind: 'sequence'; readonly sequence: number; readonly index: number }
  | { readonly kind: 'token'; readonly token: Omit<TokenRecord, 'sequence' | 'index'> }
  /** `layer` is null if it is the model's last, which another line has. */
  | { readonly kind: 'opinion'; readonly opinion: Omit<ExitOpinion, 'layer'> & { readonly layer: number | null } };

/** `known`: what an earlier reading of this file gave. Throws a `UserError` (`bad-data`) that names the line. */
export function parseTrace(text: string, name = 'The trace', known: ReadLines = new Map()): ParsedTrace {
  const trace = emptyTrace();
  const tokenLines: number[] = [];
  const lines = new Map<string, Line>();
  let sequence = 0;
  let index = 0;
  for (const [i, ended] of text.split('\n').entries()) {
    const source = ended.endsWith('\r') ? ended.slice(0, -1) : ended;
    try {
      if (i === 0) {
        if (source.trim() !== `exittrace ${traceVersion}`) throw new Mistake(`expected "exittrace ${traceVersion}"`);
        continue;
      }
      const line = lines.get(source) ?? known.get(source) ?? readLine(source);
      lines.set(source, line);
      if (line.kind === 'token') {
        trace.tokens.push({ sequence, index: index++, ...line.token });
        tokenLines.push(i);
      } else if (line.kind === 'opinion') {
        const token = trace.tokens.at(-1);
        if (!token) throw new Mistake('an opinion without a token');
        const { opinion } = line;
        (token.opinions ??= []).push({ ...opinion, layer: opinion.layer ?? trace.layers });
      } else if (line.kind === 'sequence') ({ sequence, index } = line);
      else if (line.kind === 'text') trace[line.key] = line.value;
      else if (line.kind === 'layers') trace.layers = line.layers;
      else if (line.kind === 'exits') trace.exits = trace.exits.concat(line.exits);
      else if (line.kind === 'stop') trace.stop = line.stop;
      else if (line.kind === 'speedup') trace.speedup = line.speedup;
    } catch (error) {
      if (!(error instanceof Mistake)) throw error;
      throw userError('bad-data', `${shown(name)}, line ${i + 1}: ${error.message}.`);
    }
  }
  return { trace, tokenLines, lines };
}

/** What is wrong with a line, in words. */
class Mistake extends Error {}

function readLine(source: string): Line {
  const reader = new LineReader(source);
  if (reader.ended() || source.startsWith('#')) return { kind: 'blank' };
  const line = reader.take('|') ? readOpinion(reader) : /^\s*\d/.test(source) ? readToken(reader) : readKeyword(reader);
  if (!reader.ended()) throw new Mistake(`${shownValue(reader.rest())} was not expected`);
  return line;
}

function readKeyword(reader: LineReader): Line {
  const key = reader.word('a keyword');
  switch (key) {
    case 'model':
    case 'policy':
    case 'prompt':
      return { kind: 'text', key, value: reader.string(`the ${key}`) };
    case 'layers':
      return { kind: 'layers', layers: reader.count('a number of layers') };
    case 'exits': {
      const exits: string[] = [];
      while (!reader.ended()) exits.push(reader.word('an exit'));
      return { kind: 'exits', exits };
    }
    case 'stop': {
      const word = reader.word('a reason');
      const stop = stopReasons.find((reason) => reason === word);
      if (stop === undefined) throw new Mistake(`${shownValue(word)} is no reason to stop`);
      return { kind: 'stop', stop };
    }
    case 'speedup':
      return { kind: 'speedup', speedup: reader.number('a speedup') };
    case 'sequence': {
      const sequence = reader.count('a sequence');
      return { kind: 'sequence', sequence, index: reader.take('from') ? reader.count('an index') : 0 };
    }
    case 'line':
      reader.string('the text of the line');
      return { kind: 'blank' };
    default:
      throw new Mistake(`${shownValue(key)} is no keyword of a trace`);
  }
}

function readToken(reader: LineReader): Line {
  const layer = reader.count('a layer');
  const exit = reader.word('an exit');
  const confidence = reader.number('a confidence');
  const id = reader.count('a token id');
  const token = { id, text: reader.string('the text'), layer, exit, confidence };
  if (!reader.take('draft')) return { kind: 'token', token };
  const source = reader.word('who drafted it');
  const verdict = reader.word('accepted or rejected');
  if (verdict !== 'accepted' && verdict !== 'rejected')
    throw new Mistake(`${shownValue(verdict)} is neither accepted nor rejected`);
  return { kind: 'token', token: { ...token, draft: { source, accepted: verdict === 'accepted' } } };
}

function readOpinion(reader: LineReader): Line {
  const exit = reader.word('an exit');
  const layer = reader.take('at') ? reader.count('a layer') : exit === 'final' ? null : exitLayer(exit, 0);
  if (Number.isNaN(layer)) throw new Mistake(`${shownValue(exit)} does not tell its layer`);
  const confidence = reader.number('a confidence');
  const token = reader.take('defer') ? null : readCandidate(reader);
  const candidates: Candidate[] = [];
  if (reader.take('|')) {
    do candidates.push(readCandidate(reader));
    while (reader.take(','));
  }
  return { kind: 'opinion', opinion: { exit, layer, confidence, token, candidates } };
}

const readCandidate = (reader: LineReader): Candidate => ({
  id: reader.count('a token id'),
  text: reader.string('the text'),
  probability: reader.number('a probability'),
});

const patterns = {
  end: /\s*$/y,
  word: /\s*([^\s",|]+)/y,
  number: /\s*(-?\d+(?:\.\d+)?(?:e[+-]?\d+)?)(?=[\s,]|$)/y,
  quote: /\s*"/y,
  '|': /\s*\|/y,
  ',': /\s*,/y,
  draft: /\s*draft(?=\s|$)/y,
  at: /\s*at(?=\s|$)/y,
  defer: /\s*defer(?=\s|$)/y,
  from: /\s*from(?=\s|$)/y,
};

/** Reads one line from left to right: words, numbers and JSON strings between blanks. */
class LineReader {
  private position = 0;
  private readonly line: string;

  constructor(line: string) {
    this.line = line;
  }

  rest(): string {
    return this.line.slice(this.position).trim();
  }

  ended(): boolean {
    return this.match(patterns.end) !== null;
  }

  /** Skips a word or sign if it comes next. */
  take(word: '|' | ',' | 'draft' | 'at' | 'defer' | 'from'): boolean {
    return this.match(patterns[word]) !== null;
  }

  word(what: string): string {
    return this.match(patterns.word)?.[1] ?? expected(what);
  }

  number(what: string): number {
    const value = Number(this.match(patterns.number)?.[1] ?? NaN);
    return Number.isFinite(value) ? value : expected(what);
  }

  /** A whole number from 0. */
  count(what: string): number {
    const value = this.number(what);
    return Number.isSafeInteger(value) && value >= 0 ? value : expected(what);
  }

  string(what: string): string {
    if (!this.match(patterns.quote)) return expected(`${what} in quotes`);
    const start = this.position - 1;
    let end = this.line.indexOf('"', this.position);
    while (end >= 0 && isEscaped(this.line, end)) end = this.line.indexOf('"', end + 1);
    if (end < 0) return expected(`${what} in quotes`);
    this.position = end + 1;
    const text = this.line.slice(start, this.position);
    try {
      return JSON.parse(text) as string;
    } catch {
      throw new Mistake(`${shown(text, { limit: 80 })} is no JSON string`);
    }
  }

  private match(pattern: RegExp): RegExpExecArray | null {
    pattern.lastIndex = this.position;
    const found = pattern.exec(this.line);
    if (found) this.position = pattern.lastIndex;
    return found;
  }
}

/** Whether a quote has an odd number of backslashes before it. */
function isEscaped(line: string, quote: number): boolean {
  let at = quote;
  while (line[at - 1] === '\\') at--;
  return (quote - at) % 2 === 1;
}

const expected = (what: string): never => {
  throw new Mistake(`expected ${what}`);
};
