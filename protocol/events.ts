/** What a recipe reports while it runs. One stream of these serves the CLI, the language server, the webview and tests. */
import type { Brought } from './brought.ts';
import type { Promised } from './options/promise.ts';
import type { JudgedAnswer, TaskScores } from './tasks.ts';
import type { ExitOpinion, Mode, StopReason, TokenRecord } from './trace.ts';

/** Tokens of like confidence. */
export interface ReliabilityBin {
  tokens: number;
  /** Mean over them. */
  confidence: number;
  /** Share of them whose top-1 is the final exit's. */
  agreement: number;
}

/** Loss and agreement of one exit on held-out text. The final exit has id `final`. */
export interface ExitScore {
  exit: string;
  layer: number;
  /** Cross-entropy in nats per token. For a shortlist, tokens outside it are scored by the defer class (see docs/architecture.md). */
  loss: number;
  perplexity: number;
  /** Share of tokens whose top-1 is the true next token. */
  accuracy: number;
  /** Share of tokens whose top-1 is the final exit's. */
  agreement: number;
  /** Of its confidences, from the lowest; absent of the final exit, from PyTorch and of earlier versions. */
  reliability?: ReliabilityBin[];
}

export const phases = [
  'load',
  'download',
  'tokenize',
  'features',
  'fit',
  'tune',
  'evaluate',
  'measure',
  'generate',
  'install',
  'save',
] as const;
export type Phase = (typeof phases)[number];

export type ProgressEvent = {
  type: 'progress';
  phase: Phase;
  done: number;
  total: number;
  unit: string;
  /** If that is known. */
  secondsLeft?: number;
};
export type PhaseEvent = { type: 'phase'; phase: Phase; detail: string };
/** About how long the job takes from its beginning, by speeds that it has just measured. */
export type ExpectedEvent = { type: 'expected'; seconds: number };
export interface WarningEvent {
  type: 'warning';
  message: string;
  /** If exits are not calibrated because the run's text is too little for it. */
  lacks?: 'text';
}
/** Information that is no warning. */
export type NoteEvent = { type: 'note'; message: string };

/** The model is loaded: its exits and its device. Before the first step or token. */
export interface ReadyEvent {
  type: 'ready';
  model: string;
  layers: number;
  /** In the order of the stream, without the final exit. */
  exits: { exit: string; layer: number }[];
  device: string;
}

/** Of a generation: also the mode that runs, which `auto` has chosen, and the rule by which tokens leave in mode `fast`. */
export interface GenerateReadyEvent extends ReadyEvent {
  mode: Mode;
  /** Such as `as calibrated` or `confidence 0.8, not calibrated`; null if no token leaves early. */
  policy: string | null;
  /** What leaving early as calibrated brings and costs, in words; null if no token leaves by a calibration. */
  brought?: string | null;
}

export interface StepEvent {
  type: 'step';
  step: number;
  steps: number;
  epoch: number;
  /** Target tokens seen so far. */
  tokens: number;
  tokensPerSecond: number;
  learningRate: number;
  /** What is minimised: Σ exit weight · exit loss. */
  loss: number;
  /** Cross-entropy with the true next tokens by exit id, whatever the exits learn from. */
  losses: Record<string, number>;
  /**
   * Each exit's cross-entropy minus the final exit's on the same tokens, over the vocabulary as for `ExitScore.loss`. Absent if the exits
   * do not learn from the final one, and from PyTorch.
   */
  gaps?: Record<string, number>;
  gradientNorms: Record<string, number>;
  secondsLeft: number;
}

export interface EvaluationEvent {
  type: 'evaluation';
  step: number;
  tokens: number;
  scores: ExitScore[];
  /** Whether these are the best held-out losses so far. */
  best: boolean;
}

/** How the minutes of a run are spent, by the speeds of its first seconds; the phases keep to it. */
export interface MinutesEvent {
  type: 'minutes';
  minutes: number;
  seconds: { evaluation: number; fit: number; updates: number; calibration: number };
  /** On held-out text. */
  evaluationTokens: number;
  fitTokens: number;
  /** Updates expected. */
  updates: number;
  /** The number of minutes that would bring a gain; null if the given ones do. */
  minutesNeeded: number | null;
}

/** What some GPUs would do, by the model's shape alone. */
export interface PlannedEvent {
  type: 'planned';
  model: string;
  gpus: number;
  /** As `--mesh` takes it. */
  mesh: string;
  /** Whether the whole model is trained, and nothing of it is frozen. */
  whole: boolean;
  /**
   * Bytes of the rank that has most of each: the frozen model (with gradients and moments if it is trained), exits with theirs, frozen
   * heads (else the gradient of the model's own), activations.
   */
  memory: { backbone: number; exits: number; heads: number; working: number };
  fits: boolean;
  /** Bytes an update that all ranks give away, by what they are. */
  traffic: Record<string, number>;
  /** For a billion tokens, and for the run if its updates are given. */
  hours: number;
  runHours: number | null;
}

export type SavedEvent = { type: 'saved'; path: string; files: string[] };

/** Of export and import. */
export type ExportEvent = PhaseEvent | ProgressEvent | NoteEvent | WarningEvent | SavedEvent;

export type ReportEvent = PhaseEvent | WarningEvent | SavedEvent;

/** Mean and sample deviation over seeds. */
export interface Spread {
  mean: number;
  deviation: number;
}

/** Trials that differ in nothing but the seed. */
export interface SweptGroup {
  /** The options in which it differs from the others. */
  name: string;
  seeds: number;
  exits: { exit: string; loss: Spread; agreement: Spread }[];
  minutes: Spread;
}

export type SweepEvent =
  | PhaseEvent
  | ProgressEvent
  | WarningEvent
  | {
      type: 'trial';
      name: string;
      number: number;
      total: number;
      /** The options in which it differs from the others. */
      what: string;
      /** `earlier`: it was done when the sweep went on. */
      state: 'finished' | 'earlier' | 'failed';
      /** Why it failed. */
      message: string | null;
      scores: ExitScore[];
    }
  | { type: 'swept'; directory: string; groups: SweptGroup[]; failed: { name: string; message: string }[] };

/** What an exit's memory was found to be. */
export interface MemoryEvent {
  type: 'memory';
  /** Its cut, such as `16.end`. */
  cut: string;
  numbers: number;
  /** Σ‖y − ŷ‖² ÷ Σ‖y − mean‖² of keys and of values on held-out text; null if there was none. */
  errors: Record<'copied' | 'fitted', { readonly keys: number; readonly values: number }> | null;
}

export type TuneEvent =
  | MemoryEvent
  | PhaseEvent
  | ReadyEvent
  | ProgressEvent
  | WarningEvent
  | MinutesEvent
  | StepEvent
  | EvaluationEvent
  | SavedEvent
  | ExpectedEvent
  | NoteEvent
  | PlannedEvent
  | CalibratedEvent
  | {
      type: 'tuned';
      directory: string;
      /** The model that the run was given, as a resumed run remembers it; or the new model, if the run trained all of it. */
      model: string;
      data: string[];
      step: number;
      before: ExitScore[];
      after: ExitScore[];
      seconds: number;
      stopped: boolean;
      /** Whether the whole model was trained, so that `model` is the new one. */
      whole?: boolean;
    };

/** One row of a threshold sweep. */
export interface SweepRow {
  threshold: number;
  meanLayer: number;
  /** Layers run ÷ layers of the model. */
  layerShare: number;
  /** Share of tokens equal to the full model's choice. */
  agreement: number;
}

export type EvaluateEvent =
  | PhaseEvent
  | ReadyEvent
  | ProgressEvent
  | WarningEvent
  | { type: 'evaluated'; tokens: number; scores: ExitScore[]; sweep: SweepRow[] }
  | ({ type: 'answer' } & JudgedAnswer)
  /** Results for every set of tasks; `directory`: where answers are saved; `margin`: points by which a way may be worse. */
  | { type: 'judged'; directory: string; margin: number; sets: TaskScores[] };

/** What calibrating found. */
export interface CalibratedEvent {
  type: 'calibrated';
  /** Tokens generated to calibrate on. */
  tokens: number;
  /** What was promised, and how certain it is. */
  promise: Promised;
  certainty: number;
  /** What leaving early brings and costs; null if no exit is used. */
  brought: Brought | null;
  /** If thresholds keep the promise but do not pay, and so are not used: what they were measured to bring; absent in earlier versions. */
  tried?: Pick<Brought, 'speedup' | 'busy'>;
  /** If even the most cautious thresholds may break the promise: what their text has shown; absent in earlier versions. */
  broken?: Pick<Brought, 'agreement' | 'regret'>;
  /** Estimated on the judged text: the effect of one threshold for all exits; absent in earlier versions. */
  sweep?: { threshold: number; agreement: number; speedup: number }[];
  /** In the order of the stream. */
  exits: {
    exit: string;
    layer: number;
    /** Null: the exit costs more than it saves, or keeps no promise, and is not used. */
    threshold: number | null;
    /** Tokens leave there with a clear hint of the text that is at least so likely to be right; null: with none; absent in earlier versions. */
    trust?: number | null;
    /** Of a reading, and what a token saves that leaves there. */
    milliseconds: number;
    saves: number;
    /** Share of all tokens for which it predicts the full model's token. */
    agreement: number;
  }[];
  meanLayer: number;
  layers: number;
  /** Milliseconds of a token at full depth. */
  fullDepth: number;
  /**
   * Time at full depth, a token a pass, ÷ that of the modes `fast` and `lossless` with drafts from the text, measured on `texts` texts on
   * this machine; and that of exits alone, estimated. 1 if no exit is used.
   */
  speedups: { exits: number; fast: number; lossless: number };
  texts: number;
  /** The mode that `auto` is from now on. */
  fastest: Mode;
  /** Whether the time ended before any text that leaves early was judged; absent in earlier versions. */
  isLate?: boolean;
  seconds: number;
}

export type CalibrateEvent =
  PhaseEvent | ReadyEvent | ProgressEvent | ExpectedEvent | NoteEvent | WarningEvent | SavedEvent | CalibratedEvent;

export type GenerateEvent =
  | PhaseEvent
  | GenerateReadyEvent
  | ProgressEvent
  | WarningEvent
  | { type: 'token'; token: TokenRecord }
  /** What every exit predicted for each token of a text, if it was requested; comes after `generated`. */
  | { type: 'explained'; sequence: number; opinions: ExitOpinion[][] }
  | {
      type: 'generated';
      /** Per sequence. */
      texts: string[];
      stops: StopReason[];
      promptTokens: number;
      tokens: number;
      meanLayer: number;
      layers: number;
      tokensPerSecond: number;
      /**
       * Speed relative to full depth, a token a pass, estimated from the cost of passes; null for few tokens, for a session's first text, and
       * if every token took all layers.
       */
      speedup: number | null;
      promptSeconds: number;
    };

export type CompleteEvent =
  | PhaseEvent
  | GenerateReadyEvent
  | ProgressEvent
  | WarningEvent
  | {
      type: 'completed';
      /** The likeliest first. */
      suggestions: { tokens: TokenRecord[]; stop: StopReason }[];
      /** Whether the model read the text after the gap. */
      fills: boolean;
      promptTokens: number;
      /** Of these, how many did not have to be read. */
      rememberedTokens: number;
    };

/** One thing that doctor looked at: a device, Node, a cache. */
export interface Finding {
  /** Such as `cpu`, `webgpu`, `tensorflow`, `node`. */
  name: string;
  /** `absent`: can be had, see `remedy`. `unusable`: not on this machine, or a software adapter. */
  state: 'ready' | 'absent' | 'unusable';
  /** What was found: name of the card, version, or why not. */
  detail: string;
  /** The command or step that installs it; null if nothing is missing. */
  remedy: string | null;
}

export type DoctorEvent =
  | PhaseEvent
  | ProgressEvent
  | WarningEvent
  | ({ type: 'finding' } & Finding)
  | {
      type: 'diagnosed';
      /** What `auto` takes for the model and for tuning exits, and why. */
      device: string;
      exitDevice: string;
      reason: string;
    };

/** What each command reports while it runs; what `serve` does is in serving.ts. */
export interface CommandEvents {
  readonly tune: TuneEvent;
  readonly evaluate: EvaluateEvent;
  readonly calibrate: CalibrateEvent;
  readonly generate: GenerateEvent;
  readonly doctor: DoctorEvent;
  readonly export: ExportEvent;
  readonly import: ExportEvent;
  readonly sweep: SweepEvent;
  readonly report: ReportEvent;
}
