/** Errors as a client reads them: a status and OpenAI's shape. A defect shows no more than that it is one. */
import { describeError, UserError, type ErrorCode } from '../../../protocol/errors.ts';

export interface Failure {
  readonly status: number;
  readonly type: string;
  readonly code: string;
  readonly message: string;
  /** Seconds after which it may be tried again. */
  readonly retryAfter?: number;
}

/** An error with its answer. */
export class Refusal extends Error {
  readonly failure: Failure;
  constructor(failure: Failure) {
    super(failure.message);
    this.failure = failure;
  }
}

export const refusal = (status: number, code: string, message: string, more: Partial<Failure> = {}): Refusal =>
  new Refusal({ status, type: typeOf(status), code, message, ...more });

const typeOf = (status: number): string =>
  status === 401
    ? 'authentication_error'
    : status === 403
      ? 'permission_error'
      : status < 500
        ? 'invalid_request_error'
        : 'server_error';

const statuses: Partial<Readonly<Record<ErrorCode, number>>> = {
  'bad-argument': 400,
  'bad-config': 400,
  'bad-data': 400,
  unsupported: 400,
  busy: 503,
  cancelled: 503,
  'out-of-memory': 503,
};

export function failureOf(error: unknown): Failure {
  if (error instanceof Refusal) return error.failure;
  if (!(error instanceof UserError))
    return { status: 500, type: 'server_error', code: 'internal_error', message: 'The server failed.' };
  const status = statuses[error.code] ?? 500;
  const code = error.code.replaceAll('-', '_');
  return { status, type: typeOf(status), code, message: describeError(error) };
}

/** A failure as a client of one kind reads it. */
export type FailureShape = (failure: Failure) => object;

export const openAiFailure: FailureShape = ({ type, code, message }) => ({
  error: { message, type, param: null, code },
});

export const anthropicFailure: FailureShape = ({ status, type, message }) => ({
  type: 'error',
  error: { type: anthropicTypes[status] ?? (type === 'server_error' ? 'api_error' : type), message },
});

const anthropicTypes: Readonly<Record<number, string>> = {
  404: 'not_found_error',
  413: 'request_too_large',
  503: 'overloaded_error',
};

export const ollamaFailure: FailureShape = ({ message }) => ({ error: message });
