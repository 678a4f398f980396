/** A trace as another process sends it; see shapes.ts. */
import type { Trace } from './exittrace.ts';
import { count, flag, list, nullable, number, oneOf, record, text, type Shape } from './shapes.ts';
import { stopReasons, type Candidate, type ExitOpinion, type TokenRecord } from './trace.ts';

const candidate: Shape<Candidate> = record({ id: count, text, probability: number });

const opinion: Shape<ExitOpinion> = record({
  exit: text,
  layer: count,
  confidence: number,
  token: nullable(candidate),
  candidates: list(candidate),
});

const tokenShape: Shape<TokenRecord> = record(
  { sequence: count, index: count, id: count, text, layer: count, exit: text, confidence: number },
  { draft: record({ source: text, accepted: flag }), alternatives: list(candidate), opinions: list(opinion) },
);

export const traceShape: Shape<Trace> = record(
  {
    model: text,
    layers: count,
    exits: list(text),
    policy: text,
    prompt: text,
    stop: nullable(oneOf(...stopReasons)),
    tokens: list(tokenShape),
  },
  { speedup: number },
);
