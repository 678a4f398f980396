/**
 * The messages between the editor and the language server besides LSP: one object per message, with its method and the types of its
 * parameters and result. Knows no transport.
 */
import { anyRecord, count, flag, list, nothing, nullable, oneOf, partial, record, text, type Shape } from './shapes.ts';
import { chatTurnsShape, type ChatTurn } from './chat-turns.ts';
import { gapShape, limitsShape, type CompletionLimits, type CompletionResult, type Gap } from './completion.ts';
import type { DownloadProgress, HubChoice, HubModel, MachineModel } from './models.ts';
import { traceShape } from './trace-shapes.ts';
import type { Finding, GenerateReadyEvent, TuneEvent } from './events.ts';
import type { JobEvents } from './jobs.ts';
import type { Trace } from './exittrace.ts';
import type { RunClock } from './run-clock.ts';
import type { ExitOpinion, Mode, StopReason, TokenRecord } from './trace.ts';

export interface Request<Params, Result> {
  readonly kind: 'request';
  readonly method: string;
  /** Checks that the server applies to its client's messages. */
  readonly params: Shape<Params>;
  /** Never set: it carries the type. */
  readonly result?: Result;
}

export interface Notification<Params> {
  readonly kind: 'notification';
  readonly method: string;
  /** Never set: it carries the types. */
  readonly types?: (params: Params) => void;
}

/** A notification of the client. */
export interface ClientNotification<Params> extends Notification<Params> {
  readonly params: Shape<Params>;
}

const request = <Params, Result>(method: string, params: Shape<Params>): Request<Params, Result> => ({
  kind: 'request',
  method,
  params,
});
const notification = <Params>(method: string): Notification<Params> => ({ kind: 'notification', method });
const clientNotification = <Params>(method: string, params: Shape<Params>): ClientNotification<Params> => ({
  kind: 'notification',
  method,
  params,
});

/** Options of a recipe as `protocol/options/options.ts` names them. */
export type RecipeOptions = Record<string, unknown>;

/** What the client passes in `initialize` as `initializationOptions`. */
export interface ServerOptions {
  /** Folder in which runs are recorded; a server without one records and resumes nothing. */
  runs: string | null;
  /** Take up runs that were interrupted: their server was killed or its window reloaded. */
  resumeRuns: boolean;
  /** Folder of the model that ships. */
  shippedModel: string | null;
  /** Why the backend runs as it does (which Node), for the status and the doctor. */
  runtime: string;
  display: DisplayOptions;
}

export interface DisplayOptions {
  codeLens: boolean;
  inlayHints: boolean;
  lineFigures: boolean;
  hover: boolean;
  semanticTokens: boolean;
}

/** What is left out stays as it is. */
const displayOptions: Shape<Partial<DisplayOptions>> = partial({
  codeLens: flag,
  inlayHints: flag,
  lineFigures: flag,
  hover: flag,
  semanticTokens: flag,
});

/** What is left out has the server's default. */
export const serverOptions: Shape<Partial<Omit<ServerOptions, 'display'> & { display: Partial<DisplayOptions> }>> =
  partial({
    runs: nullable(text),
    resumeRuns: flag,
    shippedModel: nullable(text),
    runtime: text,
    display: displayOptions,
  });

export type RunState = 'running' | 'paused' | 'stopped' | 'finished' | 'failed';

export interface RunSummary {
  id: string;
  title: string;
  state: RunState;
  model: string;
  exits: string[];
  /** Checkpoint directory that the run writes. */
  directory: string;
  /** ISO 8601. */
  startedAt: string;
  step: number;
  steps: number;
  tokensPerSecond: number;
  secondsLeft: number;
  /** Absolute patterns of its text. Like the clock, absent of runs that an older version recorded. */
  data?: string[];
  clock?: RunClock;
  /** What it is doing, or what went wrong, as a sentence. */
  message: string;
}

/** An event of a run with its place in the run's own order, from 0. */
export interface RunEvent {
  id: string;
  index: number;
  event: TuneEvent;
}

export interface ExitsSummary {
  directory: string;
  name: string;
  model: string;
  exits: string[];
  tokens: number | null;
  /** What a calibration found; null without one. */
  calibration: { mode: string; speedup: number | null; agreement: number | null } | null;
}

/** What `sweep` or `evaluate --tasks` wrote: a folder that a report shows. */
export interface StudySummary {
  directory: string;
  name: string;
  kind: 'sweep' | 'tasks';
  /** The model of the judged tasks, or the number of trials of a sweep. */
  detail: string;
}

export interface ModelSummary {
  path: string;
  name: string;
  kind: 'shipped' | 'folder' | 'gguf';
}

export type Activity = 'idle' | 'loading' | 'tuning' | 'generating' | 'evaluating';

export interface Status {
  activity: Activity;
  model: string | null;
  device: string | null;
  /** What was written last; null before anything was. */
  last: 'generation' | 'completion' | null;
  /** Its mode, as `auto` chose it. */
  mode: Mode | null;
  /** Its speed. */
  tokensPerSecond: number | null;
  detail: string;
}

export interface GenerateParams {
  /** Chosen by the client; the tokens come back under it. */
  generation: string;
  /** The open document that the client writes the tokens into: each is kept until `placeTokens` takes it, or the trace is attached or detached. */
  uri?: string;
  prompt: string;
  options: RecipeOptions;
  /** A conversation, whose next turn is requested, instead of the prompt. */
  turns?: ChatTurn[];
  /**
   * The text around a cursor, instead of the prompt: the generation ends with the block that it began, or before it repeats what follows.
   */
  gap?: Gap;
  /** How many candidates of every exit are sent for each token once the text is written, as `tokensExplained`; default: none. */
  explained?: number;
}

export interface GenerateResult {
  trace: Trace;
  stop: StopReason;
  tokensPerSecond: number;
  meanLayer: number;
}

/** How a generation ended; its tokens were sent while it was written. */
export interface GenerationEnd extends Omit<GenerateResult, 'trace'> {
  trace: Omit<Trace, 'tokens'>;
}

export interface AttachParams {
  generation: string;
  uri: string;
  /** Offset, in UTF-16 units, of the first of these tokens. */
  offset: number;
  /** The trace's head; its tokens are the ones to attach now. A second call with the same `generation` continues it. */
  trace: Trace;
}

export interface PlaceParams {
  generation: string;
  /** Offset in UTF-16 units where the generation begins. */
  offset: number;
  /** Number of tokens that the document has now, after those that were placed. */
  count: number;
}

const runId = record({ id: text });
const folders = record({ folders: list(text) });

/**
 * Starts tuning; the answer comes as soon as the run is recorded. Patterns of its data are relative to `folder`, else to the working
 * directory of the server.
 */
export const startRun = request<{ title: string; options: RecipeOptions; folder?: string }, RunSummary>(
  'earlyExit/run/start',
  record({ title: text, options: anyRecord }, { folder: text }),
);
/** Ends a run for good after it has saved; its checkpoint stays. */
export const stopRun = request<{ id: string }, RunSummary>('earlyExit/run/stop', runId);
/** Lets a run save and wait; it gives its memory back meanwhile. */
export const pauseRun = request<{ id: string }, RunSummary>('earlyExit/run/pause', runId);
/** Takes a paused, stopped or failed run up again from its checkpoint. */
export const resumeRun = request<{ id: string }, RunSummary>('earlyExit/run/resume', runId);
/** Every run on record, newest first. */
export const listRuns = request<Record<string, never>, RunSummary[]>('earlyExit/run/list', nothing);
/** The events of a run from an index on: what a panel that opens late needs. */
export const readRun = request<{ id: string; from: number }, { run: RunSummary; events: RunEvent[] }>(
  'earlyExit/run/read',
  record({ id: text, from: count }),
);
/** A run reported something. */
export const runReported = notification<RunEvent>('earlyExit/run/event');
/** A run's state changed. */
export const runChanged = notification<RunSummary>('earlyExit/run/changed');

/**
 * Generates after a prompt; its tokens are sent as `tokensGenerated`, the answer when it has ended. Cancelling the request keeps what was
 * written.
 */
export const generate = request<GenerateParams, GenerationEnd>(
  'earlyExit/generate',
  record(
    { generation: text, prompt: text, options: anyRecord },
    { uri: text, turns: chatTurnsShape, gap: gapShape, explained: count },
  ),
);
/** A generation's model is loaded; comes before its tokens. */
export const generationReady = notification<{ generation: string; ready: GenerateReadyEvent }>(
  'earlyExit/generate/ready',
);
/** Tokens of a running generation, in order. */
export const tokensGenerated = notification<{ generation: string; tokens: TokenRecord[] }>('earlyExit/generate/tokens');

/**
 * What every exit predicted for the tokens of a generation, from the one at `from` of its trace on. Comes after the answer; none if it was
 * cancelled.
 */
export const tokensExplained = notification<{ generation: string; from: number; opinions: ExitOpinion[][] }>(
  'earlyExit/generate/explained',
);

/** Fills the gap at a cursor; options as of `generate`. Cancelling the request ends it within a token, with nothing. */
export const complete = request<{ gap: Gap; limits: CompletionLimits; options: RecipeOptions }, CompletionResult>(
  'earlyExit/complete',
  record({ gap: gapShape, limits: limitsShape, options: anyRecord }),
);

/** Attaches the next tokens of a generation, which were sent, to the text of its document; false if it has another text there. */
export const placeTokens = request<PlaceParams, { attached: boolean }>(
  'earlyExit/trace/place',
  record({ generation: text, offset: count, count }),
);
/** Attaches tokens that the client has to the text of an open document; false if it has another text there. */
export const attachTrace = request<AttachParams, { attached: boolean }>(
  'earlyExit/trace/attach',
  record({ generation: text, uri: text, offset: count, trace: traceShape }),
);
/** Forgets a generation's positions. */
export const detachTrace = clientNotification<{ generation: string }>(
  'earlyExit/trace/detach',
  record({ generation: text }),
);
/** The traces of a document with their current offsets. */
export const readTraces = request<{ uri: string }, { generation: string; offset: number; trace: Trace }[]>(
  'earlyExit/trace/read',
  record({ uri: text }),
);

/** Exits checkpoints below some folders. */
export const listExits = request<{ folders: string[] }, ExitsSummary[]>('earlyExit/exits/list', folders);
/** Sweeps and judged tasks below some folders. */
export const listStudies = request<{ folders: string[] }, StudySummary[]>('earlyExit/studies/list', folders);
/** Models below some folders, the one that ships first. */
export const listModels = request<{ folders: string[] }, ModelSummary[]>('earlyExit/models/list', folders);

/** Models that programs have downloaded to this machine, and how much memory it has. */
export const listMachineModels = request<Record<string, never>, { models: MachineModel[]; memoryBytes: number }>(
  'earlyExit/models/machine',
  nothing,
);
/** Models of the hub whose name contains some words. */
export const searchHub = request<{ query: string }, HubModel[]>('earlyExit/hub/search', record({ query: text }));
/** What can be downloaded of a model of the hub. */
export const listHubChoices = request<{ repository: string }, HubChoice[]>(
  'earlyExit/hub/choices',
  record({ repository: text }),
);
/** Downloads a model, or continues a download. Cancelling the request keeps what was downloaded. */
export const downloadModel = request<{ reference: string }, { path: string }>(
  'earlyExit/models/download',
  record({ reference: text }),
);
export const downloadProgressed = notification<DownloadProgress>('earlyExit/models/download/progress');
/** Where a model is on this machine: a path, or a model of the hub in a cache; null if it is not here. Nothing is downloaded. */
export const findModel = request<{ model: string }, { path: string | null }>(
  'earlyExit/models/find',
  record({ model: text }),
);
/** The newest exits below some folders that were tuned for these very weights, by their hash; null without any. */
export const findExitsOf = request<{ folders: string[]; model: string }, { directory: string | null }>(
  'earlyExit/exits/of',
  record({ folders: list(text), model: text }),
);

/** What is done to exits beside tuning, and the page that shows what came of it. */
const jobKinds = ['calibrate', 'evaluate', 'export', 'import', 'report'] as const;
export type JobKind = (typeof jobKinds)[number];

export const outcomeTypes = ['calibrated', 'evaluated', 'saved', 'warning', 'note'] as const;
/** Results of a job; its progress is sent while it runs. */
export type JobOutcome = Extract<JobEvents[JobKind], { type: (typeof outcomeTypes)[number] }>;
/** Carries a job out; `job` is the client's name for it. Cancelling the request ends it. Patterns of its data begin in `folder`. */
export const runJob = request<
  { job: string; kind: JobKind; options: RecipeOptions; folder?: string },
  { outcomes: JobOutcome[] }
>('earlyExit/job/run', record({ job: text, kind: oneOf(...jobKinds), options: anyRecord }, { folder: text }));
/** The current phase of a job, and its progress from 0 to 1; null if that is not known. */
export const jobProgressed = notification<{ job: string; message: string; share: number | null }>(
  'earlyExit/job/progress',
);

/** What the backend is and does now. */
export const readStatus = request<Record<string, never>, Status>('earlyExit/status', nothing);
export const statusChanged = notification<Status>('earlyExit/status/changed');
/** What the machine offers. */
export interface Diagnosis {
  findings: Finding[];
  /** The devices on which the model runs and exits are tuned, and why. */
  conclusion: string;
}
/** Examines the machine, after installing a part if one is named, like `doctor --install`. Cancelling the request ends it. */
export const doctor = request<{ job: string; install: string | null }, Diagnosis>(
  'earlyExit/doctor',
  record({ job: text, install: nullable(text) }),
);
/** The address of a server for other programs, and the name of its model. */
export interface ServingState {
  url: string;
  name: string;
}
/** Serves a model to other programs, in place of what was served before. Answers once it is loaded. */
export const startServer = request<{ options: RecipeOptions }, ServingState>(
  'earlyExit/startServer',
  record({ options: anyRecord }),
);
export const stopServer = request<Record<string, never>, Record<string, never>>('earlyExit/stopServer', nothing);
/** The server has ended; `problem` says why, unless it was stopped on request. */
export const serverEnded = notification<{ problem: string | null }>('earlyExit/serverEnded');
/** Switches lenses, hints, hovers and semantic tokens while running. */
export const displayChanged = clientNotification<Partial<DisplayOptions>>('earlyExit/display', displayOptions);
