/** What passes between the host of a job and the thread that runs it. One message type each way; plain records only. */
import { UserError, type ErrorRecord } from './errors.ts';
import type { CommandEvents, CompleteEvent } from './events.ts';
import type { ChatTurn } from './chat-turns.ts';
import type { CompleteOptions, Gap } from './completion.ts';
import type { CommandOptions } from './options/options.ts';
import type { ServeEvent, ServeMessage } from './serving.ts';

/** Options of each recipe, by name: those of the commands, and those that only an editor sends. */
export type JobOptions = CommandOptions & {
  readonly generate: {
    /** A conversation, or the place at a cursor, instead of the prompt. */
    readonly turns?: readonly ChatTurn[];
    readonly gap?: Gap;
    /** How many candidates of every exit are found for each token once the text is written. */
    readonly explained?: number;
  };
  readonly complete: CompleteOptions;
};
export type JobName = keyof JobOptions;

/** What each recipe reports while it runs. */
export interface JobEvents extends CommandEvents {
  readonly complete: CompleteEvent;
  readonly serve: ServeEvent;
}

/** Messages to a recipe while it runs; most get none. */
export type JobMessages = { readonly [Name in JobName]: Name extends 'serve' ? ServeMessage : never };

/** Messages in the order in which they came. */
export interface Inbox<Message> {
  /** Returns and removes the messages that have come. */
  take(): Message[];
  /** Settles once something has come or `wake` was called since the last wait. */
  wait(): Promise<void>;
  wake(): void;
}

/** A recipe yields its events and returns. It checks the signal between steps, and throws a UserError if it cannot continue. */
export type Recipe<Name extends JobName> = (
  options: JobOptions[Name],
  signal: AbortSignal,
  ...inbox: [JobMessages[Name]] extends [never] ? [] : [inbox: Inbox<JobMessages[Name]>]
) => AsyncGenerator<JobEvents[Name], void>;

export type RecipeTable = { readonly [Name in JobName]: Recipe<Name> };

/** Host → thread; `job` is a number of the host's. `leave`: end, once nothing is computed any more. */
export type JobRequest =
  | {
      [Name in JobName]: {
        readonly type: 'start';
        readonly job: number;
        readonly recipe: Name;
        readonly options: JobOptions[Name];
        /** One Int32; 1 once the job is cancelled. Read between steps, because messages wait while the runtime computes. */
        readonly cancelFlag: SharedArrayBuffer;
      };
    }[JobName]
  | { readonly type: 'message'; readonly job: number; readonly message: JobMessages[JobName] }
  | { readonly type: 'cancel'; readonly job: number }
  | { readonly type: 'leave' };

/** Thread → host. `ended` and `failed` are the last of a job. */
export type JobReply = { readonly job: number } & (
  | { readonly type: 'event'; readonly event: JobEvents[JobName] }
  | { readonly type: 'ended' }
  | { readonly type: 'failed'; readonly error: ErrorRecord }
);

/** What a thread is started with. */
export interface ThreadData {
  /** The module that the thread runs. */
  readonly entry: string;
}

export function toErrorRecord(error: unknown): ErrorRecord {
  if (!(error instanceof Error)) {
    return { name: 'Error', message: String(error), code: null, wayOut: null, stack: null };
  }
  const { name, message, stack = null } = error;
  return error instanceof UserError
    ? { name, message, code: error.code, wayOut: error.wayOut, stack }
    : { name, message, code: null, wayOut: null, stack };
}

export function fromErrorRecord(record: ErrorRecord): Error {
  if (record.code !== null) return new UserError(record.code, record.message, record.wayOut);
  const error = new Error(record.message);
  error.name = record.name;
  if (record.stack !== null) error.stack = record.stack;
  return error;
}
