/** What the status item says: the model with its mode or its last speed, or what the backend does. Knows no `vscode`; texts come translated. */
import { modelBase } from '../../protocol/models.ts';
import type { Status } from '../../protocol/server.ts';
import { modelTitle } from '../models/choices.ts';

export interface StatusView {
  readonly state: 'stopped' | 'starting' | 'running' | 'failed';
  readonly status: Status;
  /** The chosen model and mode, as the settings name them. */
  readonly model: string;
  readonly mode: string;
  /** Of the run that tunes, from 0 to 1; null without one. */
  readonly done: number | null;
}

export interface StatusTexts {
  readonly name: string;
  readonly activity: (activity: Exclude<Status['activity'], 'idle'>) => string;
  readonly speed: (tokensPerSecond: string, of: Status['last']) => string;
}

/** With a longer name the figure behind it is cut off in a window of 800 pixels. */
const NAME_LENGTH = 18;

/** Text of a status bar item, with its icon. */
export function statusText({ state, status, model, mode, done }: StatusView, texts: StatusTexts): string {
  if (state === 'failed') return `$(error) ${texts.name}`;
  const name = shorten(modelTitle(model));
  if (state === 'starting') return `$(sync~spin) ${name}`;
  if (state === 'running' && status.activity !== 'idle') {
    const share = status.activity === 'tuning' && done !== null ? ` ${Math.round(100 * done)} %` : '';
    return `$(sync~spin) ${texts.activity(status.activity)}${share}`;
  }
  // The speed of the last text if this model wrote it; the tooltip then has the mode.
  const isOwn = status.model === modelBase(model);
  const last =
    isOwn && status.tokensPerSecond
      ? texts.speed(figure(status.tokensPerSecond), status.last)
      : (isOwn && status.mode) || mode;
  return `$(early-exit) ${name} · ${last}`;
}

const shorten = (name: string): string => (name.length > NAME_LENGTH ? `${name.slice(0, NAME_LENGTH - 1)}…` : name);
const figure = (value: number): string => (value < 10 ? value.toFixed(1) : String(Math.round(value)));
