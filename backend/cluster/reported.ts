/** What the ranks report (`distributed/early_exit_distributed/rank.py`), a line of JSON each, as records. Parsed here, trusted inside. */
import { describeError, userError } from '../../protocol/errors.ts';
import {
  phases,
  type EvaluationEvent,
  type ExitScore,
  type PhaseEvent,
  type ProgressEvent,
  type StepEvent,
  type WarningEvent,
} from '../../protocol/events.ts';
import { exitScore } from '../../protocol/exit-score.ts';
import {
  count,
  figure,
  flag,
  list,
  number,
  oneOf,
  readMessage,
  record,
  table,
  text,
  type Shape,
} from '../../protocol/shapes.ts';

/** Bytes that all ranks together gave away in a step, by what they were. */
export interface Traffic {
  readonly hidden: number;
  readonly final: number;
  readonly gradients: number;
  readonly bookkeeping: number;
  readonly tensor: number;
}

/** Bytes of each, on the rank that has most of it. */
export interface ParameterMemory {
  readonly backbone: number;
  readonly exits: number;
  readonly heads: number;
}

export interface FinishedEvent {
  readonly type: 'finished';
  readonly step: number;
  readonly before: readonly ExitScore[];
  readonly after: readonly ExitScore[];
  readonly seconds: number;
  readonly stopped: boolean;
  readonly traffic: Traffic;
  readonly memory: ParameterMemory;
}

export interface FailedEvent {
  readonly type: 'failed';
  readonly message: string;
}

export type RankEvent =
  PhaseEvent | ProgressEvent | WarningEvent | StepEvent | EvaluationEvent | FinishedEvent | FailedEvent;

type ShapeOf<Type extends RankEvent['type']> = Shape<Extract<RankEvent, { readonly type: Type }>>;

const shapes: { readonly [Type in RankEvent['type']]: ShapeOf<Type> } = {
  phase: record({ type: oneOf('phase'), phase: oneOf(...phases), detail: text }),
  progress: record({ type: oneOf('progress'), phase: oneOf(...phases), done: count, total: count, unit: text }),
  warning: record({ type: oneOf('warning'), message: text }),
  step: record({
    type: oneOf('step'),
    step: count,
    steps: count,
    epoch: count,
    tokens: count,
    tokensPerSecond: figure,
    learningRate: figure,
    loss: figure,
    losses: table(figure),
    gradientNorms: table(figure),
    secondsLeft: figure,
  }),
  evaluation: record({ type: oneOf('evaluation'), step: count, tokens: count, scores: list(exitScore), best: flag }),
  finished: record({
    type: oneOf('finished'),
    step: count,
    before: list(exitScore),
    after: list(exitScore),
    seconds: number,
    stopped: flag,
    traffic: record({ hidden: number, final: number, gradients: number, bookkeeping: number, tensor: number }),
    memory: record({ backbone: number, exits: number, heads: number }),
  }),
  failed: record({ type: oneOf('failed'), message: text }),
};

/**
 * Null for what is no event: a log has lines of others, too.
 * @throws UserError `bad-data` for an event that is not as the ranks of this version report it.
 */
export function readEvent(line: string): RankEvent | null {
  const found = eventIn(line);
  if (found === null) return null;
  try {
    return readMessage<RankEvent>(found.type, shapes[found.type], found.value);
  } catch (cause) {
    throw userError(
      'bad-data',
      `The job reports what cannot be read: ${describeError(cause)}`,
      'Use the same version on all machines, and go on from its last state with --resume.',
      cause,
    );
  }
}

/** Null for what is no event, or cannot be read. */
export function eventOrNull(line: string): RankEvent | null {
  try {
    return readEvent(line);
  } catch {
    return null;
  }
}

function eventIn(line: string): { readonly type: RankEvent['type']; readonly value: object } | null {
  const begin = line.indexOf('{');
  if (begin < 0) return null;
  try {
    const value: unknown = JSON.parse(line.slice(begin));
    if (typeof value !== 'object' || value === null || !('type' in value)) return null;
    const type = types.find((each) => each === value.type);
    return type === undefined ? null : { type, value };
  } catch {
    return null;
  }
}

const types = Object.keys(shapes) as RankEvent['type'][];
