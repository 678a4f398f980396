/** Checks every request and notification against its declared shape before it is handled. Knows no request by name. */
import {
  ErrorCodes,
  NotificationType,
  ParameterStructures,
  RequestType,
  ResponseError,
  type CancellationToken,
  type Connection,
} from 'vscode-languageserver/node';
import { describeError, UserError } from '../../protocol/errors.ts';
import { readMessage, type Shape } from '../../protocol/shapes.ts';

/** A request or notification, and the shape of its parameters. */
interface MessageType<Params, Result> {
  readonly method: string;
  readonly params: Shape<Params>;
  readonly result?: Result;
}

export interface Incoming {
  /** Answers a request. A `UserError` reaches the client as its sentence, code and way out. */
  readonly answer: <Params, Result>(
    message: MessageType<Params, Result>,
    handler: (params: Params, token: CancellationToken) => Result | Promise<Result>,
  ) => void;
  /** What is wrong with a notification goes to the client's log. */
  readonly listen: <Params>(message: MessageType<Params, void>, handler: (params: Params) => void) => void;
}

/** Parameters in a list instead of by name are refused by the library. */
export const incoming = (connection: Connection): Incoming => ({
  answer: ({ method, params: shape }, handler) => {
    const type = new RequestType<unknown, unknown, { code: string }>(method, ParameterStructures.byName);
    connection.onRequest(type, async (given, token) => {
      const params = readParams(method, shape, given);
      try {
        return await handler(params, token);
      } catch (error) {
        throw error instanceof UserError ? responseError(ErrorCodes.InternalError, error) : error;
      }
    });
  },
  listen: ({ method, params: shape }, handler) => {
    const type = new NotificationType<unknown>(method, ParameterStructures.byName);
    connection.onNotification(type, (given) => {
      try {
        handler(readMessage(method, shape, given));
      } catch (error) {
        connection.console.error(describeError(error));
      }
    });
  },
});

/** Parameters of another shape are the client's mistake. */
export function readParams<Params>(what: string, shape: Shape<Params>, given: unknown): Params {
  try {
    return readMessage(what, shape, given);
  } catch (error) {
    throw error instanceof UserError ? responseError(ErrorCodes.InvalidParams, error) : error;
  }
}

const responseError = (code: number, error: UserError): ResponseError<{ code: string }> =>
  new ResponseError(code, describeError(error), { code: error.code });
