/** Errors that a user can do something about: one sentence that names the file or setting, and the way out. */

export type ErrorCode =
  | 'bad-argument'
  | 'bad-config'
  | 'bad-model'
  | 'bad-weights'
  | 'bad-tokenizer'
  | 'bad-data'
  | 'bad-checkpoint'
  | 'wrong-base-model'
  | 'unsupported'
  | 'device'
  | 'not-found'
  | 'file-system'
  | 'network'
  | 'cancelled'
  | 'busy'
  | 'incomplete'
  | 'out-of-memory';

export class UserError extends Error {
  override readonly name = 'UserError';
  readonly code: ErrorCode;
  /** What the user can do, as a sentence; null if the message contains it. */
  readonly wayOut: string | null;

  constructor(code: ErrorCode, message: string, wayOut: string | null = null, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
    this.wayOut = wayOut;
  }
}

export const userError = (code: ErrorCode, message: string, wayOut?: string, cause?: unknown): UserError =>
  new UserError(code, message, wayOut ?? null, cause === undefined ? undefined : { cause });

/** An error as it crosses a thread or a process. */
export interface ErrorRecord {
  readonly name: string;
  readonly message: string;
  /** Of a UserError; null for a defect. */
  readonly code: ErrorCode | null;
  readonly wayOut: string | null;
  readonly stack: string | null;
}

/** What a user reads: the sentence and the way out. */
export const describeError = (error: unknown): string =>
  error instanceof UserError
    ? error.wayOut === null
      ? error.message
      : `${error.message} ${error.wayOut}`
    : error instanceof Error
      ? error.message
      : String(error);
