/** What every feature of the extension is given: one record, made once in `activate`. */
import type * as vscode from 'vscode';
import type { Backend } from './backend/backend.ts';
import type { CurvesPanel } from './panels/curves-panel.ts';
import type { DetailsPanel } from './panels/details-panel.ts';
import type { Generations } from './generation/generations.ts';
import type { Runs } from './runs/runs.ts';

export interface App {
  readonly context: vscode.ExtensionContext;
  readonly backend: Backend;
  readonly runs: Runs;
  readonly generations: Generations;
  readonly curves: CurvesPanel;
  readonly details: DetailsPanel;
}
