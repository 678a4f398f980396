/** What every feature of the extension is given: one record, made once in `activate`. */
import type * as vscode from 'vscode';
import type { Backend } from './backend.ts';
import type { CurvesPanel } from './curves-panel.ts';
import type { DetailsPanel } from './details-panel.ts';
import type { Generations } from './generations.ts';
import type { Runs } from './runs.ts';

export interface App {
  readonly context: vscode.ExtensionContext;
  readonly backend: Backend;
  readonly runs: Runs;
  readonly generations: Generations;
  readonly curves: CurvesPanel;
  readonly details: DetailsPanel;
}
