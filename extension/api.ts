/** What other extensions get from `activate`: start a run and follow it, generate with exits. Types only. */
import type { CancellationToken, Event } from 'vscode';
import type { TuneEvent } from '../protocol/events.ts';
import type { GenerateResult, RecipeOptions, RunSummary, Status } from '../protocol/server.ts';
import type { TokenRecord } from '../protocol/trace.ts';

export interface EarlyExitApi {
  readonly version: 1;
  /** Starts tuning with the settings, and with these options instead of theirs; asks nothing. Null if it failed, which was shown. */
  startRun(options?: RecipeOptions): Promise<RunSummary | null>;
  pauseRun(id: string): Promise<RunSummary>;
  /** Null if the folder is not trusted; a message says so. */
  resumeRun(id: string): Promise<RunSummary | null>;
  stopRun(id: string): Promise<RunSummary>;
  /** Newest first. */
  listRuns(): Promise<readonly RunSummary[]>;
  /** A run's events so far. */
  readRun(id: string): Promise<readonly TuneEvent[]>;
  readonly onRunEvent: Event<{ id: string; event: TuneEvent }>;
  readonly onRunChange: Event<RunSummary>;
  /** Generates after a prompt, with the settings and these options over them. */
  generate(
    prompt: string,
    options?: RecipeOptions,
    onToken?: (token: TokenRecord) => void,
    token?: CancellationToken,
  ): Promise<GenerateResult>;
  /** Generates into the active editor at its cursor, as the command does; null if nothing was written. */
  generateAtCursor(options?: RecipeOptions): Promise<GenerateResult | null>;
  /** What the backend does; starts it. */
  status(): Promise<Status>;
}
