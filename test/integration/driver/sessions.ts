/** Which suites run, each in a window of its own: its workspace, its settings, and how the extension gets there. */
import { cp, mkdir, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { Release } from './server.ts';

export interface Session {
  /** The suite's file is `suites/<name>.suite.ts`. */
  readonly name: string;
  readonly settings?: Record<string, unknown>;
  /** Workspace trust on and the folder not trusted. */
  readonly untrusted?: boolean;
  /** Of VS Code; the oldest where none is named. */
  readonly release?: Release;
  /** Install the packaged extension instead of running it from the repository. */
  readonly packaged?: boolean;
  /** Settings of the folder itself. */
  readonly folderSettings?: Record<string, unknown>;
  /** Seconds for the whole session. */
  readonly limit?: number;
  /** It runs only if `--only` names it. */
  readonly byName?: boolean;
}

/** Settings for a tuning that takes seconds and still shows every part at work. */
const quickTuning = {
  'earlyExit.exits': '4:norm,8:norm',
  'earlyExit.tuning.shortlist': 512,
  'earlyExit.tuning.fitTokens': 4_000,
  'earlyExit.tuning.evaluationTokens': 1_024,
  'earlyExit.tuning.sequenceLength': 128,
  'earlyExit.tuning.learningRate': 1e-3,
};

export const sessions: readonly Session[] = [
  { name: 'activation' },
  { name: 'tuning', settings: { ...quickTuning, 'earlyExit.tuning.steps': 200, 'earlyExit.tuning.evaluateEvery': 50 } },
  {
    name: 'generation',
    settings: {
      ...quickTuning,
      'earlyExit.exits': '4,6,8,10',
      'earlyExit.tuning.fitTokens': 8_000,
      'earlyExit.model': 'typescript-5m',
      'earlyExit.tuning.preset': 'quick',
      'earlyExit.tuning.data': ['src/**/*.ts'],
      'earlyExit.tuning.steps': 10,
    },
  },
  {
    name: 'completions',
    settings: {
      'earlyExit.completions.enabled': true,
      'earlyExit.completions.maxMilliseconds': 3_000,
      'earlyExit.completions.showExits': true,
      'editor.inlineSuggest.enabled': true,
      'editor.quickSuggestions': { other: 'off', comments: 'off', strings: 'off' },
    },
  },
  {
    name: 'keystroke',
    settings: { 'editor.quickSuggestions': { other: 'off', comments: 'off', strings: 'off' } },
  },
  { name: 'chat', release: 'newest' },
  { name: 'server', settings: { 'earlyExit.model': 'typescript-5m' } },
  {
    name: 'settings',
    settings: {
      ...quickTuning,
      'earlyExit.model': 'typescript-5m',
      'earlyExit.exits': '6:norm',
      'earlyExit.tuning.preset': 'quick',
      'earlyExit.tuning.data': ['src/**/*.ts'],
      'earlyExit.tuning.steps': 4,
    },
  },
  {
    name: 'resilience',
    settings: {
      ...quickTuning,
      'earlyExit.tuning.data': ['src/**/*.ts'],
      'earlyExit.tuning.steps': 100_000,
      'earlyExit.tuning.evaluateEvery': 20,
    },
  },
  {
    name: 'trust',
    untrusted: true,
    folderSettings: {
      'earlyExit.model': './evil-model',
      'earlyExit.backend.nodePath': './evil-node',
      'earlyExit.server.port': 1,
    },
  },
  { name: 'fallback' },
  // Nothing is set: what a newcomer finds.
  { name: 'first-minutes', byName: true, packaged: true, limit: 3600 },
  { name: 'package', packaged: true, settings: { ...quickTuning, 'earlyExit.tuning.steps': 4 } },
];

export const commonSettings = {
  'workbench.startupEditor': 'none',
  'workbench.tips.enabled': false,
  'window.commandCenter': false,
  'chat.commandCenter.enabled': false,
  'workbench.secondarySideBar.defaultVisibility': 'hidden',
  'extensions.ignoreRecommendations': true,
  // A browser's VS Code saves by itself: tests compare with what is on disk.
  'files.autoSave': 'off',
  'git.enabled': false,
  // Servers of others on this machine are no news.
  'remote.autoForwardPorts': false,
  'telemetry.telemetryLevel': 'off',
  'editor.minimap.enabled': false,
  'workbench.colorTheme': 'Default Dark Modern',
};

/** Settings that make a folder trusted, or ask nothing and leave it untrusted. */
export const trustSettings = (untrusted: boolean): Record<string, unknown> =>
  untrusted
    ? {
        'security.workspace.trust.enabled': true,
        'security.workspace.trust.startupPrompt': 'never',
        'security.workspace.trust.banner': 'never',
      }
    : { 'security.workspace.trust.enabled': false };

/** A fresh workspace for a session: a few source files to tune on and to write into. */
export async function makeWorkspace(repository: string, directory: string, session: Session): Promise<void> {
  await rm(directory, { recursive: true, force: true });
  await mkdir(path.join(directory, 'src'), { recursive: true });
  for (const folder of ['protocol', 'backend/model', 'backend/exits', 'backend/formats']) {
    await cp(path.join(repository, folder), path.join(directory, 'src', path.basename(folder)), { recursive: true });
  }
  await writeFile(path.join(directory, 'sums.ts'), sums);
  if (session.folderSettings) {
    await mkdir(path.join(directory, '.vscode'));
    await writeFile(path.join(directory, '.vscode/settings.json'), JSON.stringify(session.folderSettings));
  }
}

const sums = `/** Adds up a list of numbers. */
export function sum(values: readonly number[]): number {
  let total = 0;
  for (const value of values) total += value;
  return total;
}

/** The mean of a list of numbers. */
export function mean(values: readonly number[]): number {
`;
