/**
 * The `*.exittrace` format: a trace as text that a person reads line by line and that parses back to the same record.
 * It knows no editor; what the lines look like to the eye is in `syntaxes/exittrace.tmLanguage.json`.
 *
 *     exittrace 1
 *     model "typescript-5m"
 *     layers 12
 *     exits 3:mlp 6:mlp final
 *     policy "fast, as calibrated"
 *     prompt "function add("
 *     stop length
 *
 *     line "a: number)"
 *     3 3:mlp 0.913 521 "a"
 *       | 3:mlp 0.913 521 "a" 0.913 | 521 "a" 0.913, 88 "b" 0.02
 *       | final 0.87 521 "a" 0.87
 *
 * A token line is: layer, exit, confidence, id, text, and `draft SOURCE accepted|rejected` where it had been drafted. Below it, each exit's opinion: exit, layer where the id does not
 * tell it, confidence, the exit's own token as id, text and probability (`defer` where a shortlist deferred), and after
 * a second bar its candidates. `line` headings are for the reader; parsing skips them.
 */
import { userError } from './errors.ts';
import type { Candidate, ExitOpinion, StopReason, TokenRecord } from './trace.ts';

export interface Trace {
  model: string;
  /** Layers of the model. */
  layers: number;
  /** Exit ids in the order of the stream, `final` last. */
  exits: string[];
  policy: string;
  prompt: string;
  stop: StopReason | null;
  tokens: TokenRecord[];
}

/** A trace with the line of its text where each token stands. */
export interface ParsedTrace {
  trace: Trace;
  /** Line of the file, from 0, of each token; parallel to `trace.tokens`. */
  tokenLines: number[];
}

const VERSION = 1;
const stops: readonly StopReason[] = ['end-of-text', 'stop-string', 'length', 'context-full', 'cancelled'];

export const emptyTrace = (head: Partial<Trace> = {}): Trace => ({
  model: '',
  layers: 0,
  exits: [],
  policy: '',
  prompt: '',
  stop: null,
  tokens: [],
  ...head,
});

/** Whether the model had exits beside its own. */
export const hasExits = ({ exits }: Pick<Trace, 'exits'>): boolean => exits.some((exit) => exit !== 'final');

/** Layer of an exit id; `final` is the last layer. */
export const exitLayer = (exit: string, layers: number): number =>
  exit === 'final' ? layers : Number.parseInt(exit, 10);

/** Four significant digits: few enough to read. */
export const roundProbability = (value: number): number => Number(value.toPrecision(4));

/** The same token with probabilities as a trace file holds them. */
export const roundToken = (token: TokenRecord): TokenRecord => ({
  ...token,
  confidence: roundProbability(token.confidence),
  ...(token.opinions && {
    opinions: token.opinions.map((opinion) => ({
      ...opinion,
      confidence: roundProbability(opinion.confidence),
      token: opinion.token && roundCandidate(opinion.token),
      candidates: opinion.candidates.map(roundCandidate),
    })),
  }),
});

/** `parseTrace(serialiseTrace(t)).trace` equals t; text that `serialiseTrace` wrote comes back unchanged. */
export function serialiseTrace(trace: Trace): string {
  const lines = [
    `exittrace ${VERSION}`,
    `model ${JSON.stringify(trace.model)}`,
    `layers ${trace.layers}`,
    `exits ${trace.exits.join(' ')}`.trimEnd(),
    `policy ${JSON.stringify(trace.policy)}`,
    `prompt ${JSON.stringify(trace.prompt)}`,
    ...(trace.stop === null ? [] : [`stop ${trace.stop}`]),
  ];
  let sequence = 0;
  let nextIndex = 0;
  for (const [start, end] of textLines(trace.tokens)) {
    const tokens = trace.tokens.slice(start, end);
    lines.push('', `line ${JSON.stringify(tokens.map((token) => token.text).join(''))}`);
    for (const token of tokens) {
      if (token.sequence !== sequence || token.index !== nextIndex) {
        lines.push(`sequence ${token.sequence} from ${token.index}`);
        sequence = token.sequence;
      }
      nextIndex = token.index + 1;
      lines.push(tokenLine(token));
      for (const opinion of token.opinions ?? []) lines.push(opinionLine(opinion, trace.layers));
    }
  }
  return lines.join('\n') + '\n';
}

/** Token ranges `[start, end)` whose text is one line: a line ends with the token that holds its line feed. */
export function textLines(tokens: readonly TokenRecord[]): [number, number][] {
  const lines: [number, number][] = [];
  let start = 0;
  tokens.forEach((token, index) => {
    const next = tokens[index + 1];
    if (token.text.includes('\n') || next === undefined || next.sequence !== token.sequence) {
      lines.push([start, index + 1]);
      start = index + 1;
    }
  });
  return lines;
}

/** Throws a `UserError` (`bad-data`) that names the line. */
export function parseTrace(text: string, name = 'The trace'): ParsedTrace {
  const lines = text.split(/\r?\n/);
  const trace = emptyTrace();
  const tokenLines: number[] = [];
  let sequence = 0;
  let index = 0;
  const fail = (line: number, what: string): never => {
    throw userError('bad-data', `${name}, line ${line + 1}: ${what}.`);
  };
  if (lines[0]?.trim() !== `exittrace ${VERSION}`) fail(0, `expected "exittrace ${VERSION}"`);
  for (let i = 1; i < lines.length; i++) {
    const line = lines[i]!;
    const reader = new LineReader(line, (what) => fail(i, what));
    if (reader.ended() || line.startsWith('#')) continue;
    if (reader.take('|')) {
      const token = trace.tokens.at(-1) ?? fail(i, 'an opinion without a token');
      (token.opinions ??= []).push(readOpinion(reader, trace.layers));
    } else if (/^\s*\d/.test(line)) {
      trace.tokens.push(readToken(reader, sequence, index++, (what) => fail(i, what)));
      tokenLines.push(i);
    } else {
      const key = reader.word('a keyword');
      if (key === 'model' || key === 'policy' || key === 'prompt') trace[key] = reader.string(`the ${key}`);
      else if (key === 'layers') trace.layers = reader.number('a number of layers');
      else if (key === 'exits') while (!reader.ended()) trace.exits.push(reader.word('an exit'));
      else if (key === 'stop') {
        const word = reader.word('a reason');
        trace.stop = stops.find((stop) => stop === word) ?? fail(i, `"${word}" is no reason to stop`);
      } else if (key === 'sequence') {
        sequence = reader.number('a sequence');
        index = reader.take('from') ? reader.number('an index') : 0;
      } else if (key === 'line') reader.string('the text of the line');
      else fail(i, `"${key}" is no keyword of a trace`);
    }
    if (!reader.ended()) fail(i, `"${reader.rest()}" was not expected`);
  }
  return { trace, tokenLines };
}

function tokenLine({ layer, exit, confidence, id, text, draft }: TokenRecord): string {
  const drafted = draft ? ` draft ${draft.source} ${draft.accepted ? 'accepted' : 'rejected'}` : '';
  return `${layer} ${exit} ${confidence} ${id} ${JSON.stringify(text)}${drafted}`;
}

const roundCandidate = (candidate: Candidate): Candidate => ({
  ...candidate,
  probability: roundProbability(candidate.probability),
});

function opinionLine(opinion: ExitOpinion, layers: number): string {
  const layer = exitLayer(opinion.exit, layers) === opinion.layer ? '' : ` at ${opinion.layer}`;
  const own = opinion.token === null ? 'defer' : candidateText(opinion.token);
  const others = opinion.candidates.map(candidateText).join(', ');
  return `  | ${opinion.exit}${layer} ${opinion.confidence} ${own}${others === '' ? '' : ` | ${others}`}`;
}

const candidateText = (candidate: Candidate): string =>
  `${candidate.id} ${JSON.stringify(candidate.text)} ${candidate.probability}`;

function readToken(reader: LineReader, sequence: number, index: number, fail: (what: string) => never): TokenRecord {
  const layer = reader.number('a layer');
  const exit = reader.word('an exit');
  const confidence = reader.number('a confidence');
  const id = reader.number('a token id');
  const token: TokenRecord = { sequence, index, id, text: reader.string('the text'), layer, exit, confidence };
  if (!reader.take('draft')) return token;
  const source = reader.word('who drafted it');
  const verdict = reader.word('accepted or rejected');
  if (verdict !== 'accepted' && verdict !== 'rejected') fail(`"${verdict}" is neither accepted nor rejected`);
  return { ...token, draft: { source, accepted: verdict === 'accepted' } };
}

function readOpinion(reader: LineReader, layers: number): ExitOpinion {
  const exit = reader.word('an exit');
  const layer = reader.take('at') ? reader.number('a layer') : exitLayer(exit, layers);
  const confidence = reader.number('a confidence');
  const token = reader.take('defer') ? null : readCandidate(reader);
  const candidates: Candidate[] = [];
  if (reader.take('|')) {
    do candidates.push(readCandidate(reader));
    while (reader.take(','));
  }
  return { exit, layer, confidence, token, candidates };
}

const readCandidate = (reader: LineReader): Candidate => ({
  id: reader.number('a token id'),
  text: reader.string('the text'),
  probability: reader.number('a probability'),
});

/** Reads one line from left to right: words, numbers and JSON strings between blanks. */
class LineReader {
  private position = 0;
  private readonly line: string;
  private readonly fail: (what: string) => never;

  constructor(line: string, fail: (what: string) => never) {
    this.line = line;
    this.fail = fail;
  }

  rest(): string {
    return this.line.slice(this.position).trim();
  }

  ended(): boolean {
    return this.rest() === '';
  }

  /** Goes past a word or sign where it comes next. */
  take(word: string): boolean {
    return (
      this.match(
        word === '|' || word === ',' ? new RegExp(`\\s*\\${word}`, 'y') : new RegExp(`\\s*${word}(?=\\s|$)`, 'y'),
      ) !== null
    );
  }

  word(what: string): string {
    return this.match(/\s*([^\s",|]+)/y)?.[1] ?? this.fail(`expected ${what}`);
  }

  number(what: string): number {
    const text = this.match(/\s*(-?\d+(?:\.\d+)?(?:e[+-]?\d+)?)(?=[\s,]|$)/y)?.[1] ?? this.fail(`expected ${what}`);
    return Number(text);
  }

  string(what: string): string {
    const text = this.match(/\s*("(?:[^"\\]|\\.)*")/y)?.[1] ?? this.fail(`expected ${what} in quotes`);
    try {
      return JSON.parse(text) as string;
    } catch {
      return this.fail(`${text} is no JSON string`);
    }
  }

  private match(pattern: RegExp): RegExpExecArray | null {
    pattern.lastIndex = this.position;
    const found = pattern.exec(this.line);
    if (found) this.position = pattern.lastIndex;
    return found;
  }
}
