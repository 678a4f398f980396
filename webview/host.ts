/** The connection to the extension host: typed in both directions, and incoming messages are checked. */
import { readHostMessage, type HostMessage, type ViewMessage } from '../protocol/webview.ts';

interface VsCodeApi {
  postMessage(message: unknown): void;
  getState(): unknown;
  setState(state: unknown): void;
}
declare function acquireVsCodeApi(): VsCodeApi;

export interface Host<State> {
  send(message: ViewMessage): void;
  /** What was kept when the view was last hidden or the window reloaded. */
  readonly kept: unknown;
  keep(state: State): void;
}

/** Starts to listen, and reports that it is ready. A message of another shape is reported and dropped. */
export function connectHost<State>(receive: (message: HostMessage) => void): Host<State> {
  const api = acquireVsCodeApi();
  const send = (message: ViewMessage): void => api.postMessage(message);
  window.addEventListener('message', ({ data }: MessageEvent<unknown>) => {
    const message = readHostMessage(data);
    if (message) receive(message);
    else send({ type: 'failed', message: `A message of an unknown shape: ${JSON.stringify(data)?.slice(0, 200)}` });
  });
  window.addEventListener('error', ({ message }) => send({ type: 'failed', message }));
  window.addEventListener('unhandledrejection', ({ reason }) => send({ type: 'failed', message: String(reason) }));
  return { send, kept: api.getState(), keep: (state) => api.setState(state) };
}
