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
 *     speedup 1.7
 *
 *     line "a: number)"
 *     3 3:mlp 0.913 521 "a"
 *       | 3:mlp 0.913 521 "a" 0.913 | 521 "a" 0.913, 88 "b" 0.02
 *       | final 0.87 521 "a" 0.87
 *
 * A token line is: layer, exit, confidence, id, text, and `draft SOURCE accepted|rejected` if it had been drafted. Below it, each exit's opinion: exit, layer if the id does not
 * tell it, confidence, the exit's own token as id, text and probability (`defer` if a shortlist deferred), and after
 * a second bar its candidates. `line` headings are for the reader; parsing skips them.
 */
import type { ReadyEvent } from './events.ts';
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
  /** Speed relative to full depth, estimated from the cost of passes; absent if that is not known. */
  speedup?: number;
  tokens: TokenRecord[];
}

/** Of the format. */
export const traceVersion = 1;

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

/** What a trace says of the model that has loaded. */
export const headOf = ({ model, layers, exits }: ReadyEvent): Pick<Trace, 'model' | 'layers' | 'exits'> => ({
  model,
  layers,
  exits: [...exits.map(({ exit }) => exit), 'final'],
});

/** Whether the model had exits beside its own. */
export const hasExits = ({ exits }: Pick<Trace, 'exits'>): boolean => exits.some((exit) => exit !== 'final');

/** Layer of an exit id; `final` is the last layer. */
export const exitLayer = (exit: string, layers: number): number =>
  exit === 'final' ? layers : Number.parseInt(exit, 10);

/** Four significant digits: few enough to read. */
const roundProbability = (value: number): number => Number(value.toPrecision(4));

/** The same token with probabilities rounded as in a trace file. */
export const roundToken = (token: TokenRecord): TokenRecord => ({
  ...token,
  confidence: roundProbability(token.confidence),
  ...(token.opinions && { opinions: token.opinions.map(roundOpinion) }),
});

/** The same, rounded likewise. */
export const roundOpinion = (opinion: ExitOpinion): ExitOpinion => ({
  ...opinion,
  confidence: roundProbability(opinion.confidence),
  token: opinion.token && roundCandidate(opinion.token),
  candidates: opinion.candidates.map(roundCandidate),
});

/** `parseTrace` (trace-reading.ts) gives the trace back; text that `serialiseTrace` wrote comes back unchanged. */
export function serialiseTrace(trace: Trace): string {
  const lines = [
    `exittrace ${traceVersion}`,
    `model ${JSON.stringify(trace.model)}`,
    `layers ${trace.layers}`,
    `exits ${trace.exits.join(' ')}`.trimEnd(),
    `policy ${JSON.stringify(trace.policy)}`,
    `prompt ${JSON.stringify(trace.prompt)}`,
    ...(trace.stop === null ? [] : [`stop ${trace.stop}`]),
    ...(trace.speedup === undefined ? [] : [`speedup ${trace.speedup}`]),
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
