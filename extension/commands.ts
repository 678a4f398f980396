/**
 * Every command once: its name, its title, and when it can be called. The manifest is generated from this table and from
 * contributions.ts, which has menus and keys; `activate` registers from it, so that neither can miss one. Knows no `vscode`.
 */

export interface CommandSpec {
  readonly title: string;
  readonly icon?: string;
  /** When-clause of its enablement. */
  readonly enabled?: string;
  /** False keeps it out of the palette: it needs an argument. */
  readonly palette?: boolean;
}

/** There is generated text in the editor; a trace file is its own trace, and has nothing to save or to clear. */
export const hasGeneratedText = 'earlyExit.hasTrace && editorLangId != exittrace';

export const commands = {
  tune: { title: 'Tune Early Exits', icon: '$(rocket)', enabled: 'isWorkspaceTrusted && workspaceFolderCount > 0' },
  generate: {
    title: 'Generate with Early Exits',
    icon: '$(sparkle)',
    enabled: 'editorIsOpen && !earlyExit.generating',
  },
  stopGeneration: { title: 'Stop Generating', icon: '$(debug-stop)', enabled: 'earlyExit.generating' },
  continueGeneration: { title: 'Continue Generating', icon: '$(sparkle)', palette: false },
  showCurves: { title: 'Show Loss Curves', icon: '$(graph-line)' },
  showDetails: { title: 'Show Trace Details', icon: '$(list-tree)', enabled: 'earlyExit.hasTrace' },
  saveTrace: { title: 'Save Trace …', icon: '$(save-as)', enabled: hasGeneratedText },
  clearTraces: { title: 'Clear Exit Colours', icon: '$(clear-all)', enabled: hasGeneratedText },
  pauseRun: { title: 'Pause Run', icon: '$(debug-pause)', enabled: 'earlyExit.running' },
  resumeRun: { title: 'Resume Run', icon: '$(debug-continue)', enabled: 'isWorkspaceTrusted' },
  stopRun: { title: 'Stop Run', icon: '$(debug-stop)' },
  chooseModel: { title: 'Choose Model …', icon: '$(symbol-misc)' },
  chooseExits: { title: 'Choose Exits …', icon: '$(git-branch)' },
  hideSuggestion: { title: 'Hide Suggestion', palette: false },
  toggleCompletions: { title: 'Switch Completions On or Off', icon: '$(lightbulb)' },
  startServer: { title: 'Start Server', icon: '$(broadcast)', enabled: 'isWorkspaceTrusted' },
  stopServer: { title: 'Stop Server', icon: '$(debug-stop)', enabled: 'earlyExit.serving' },
  calibrate: { title: 'Calibrate Exits …', icon: '$(dashboard)', enabled: 'isWorkspaceTrusted' },
  evaluate: { title: 'Evaluate Exits …', icon: '$(checklist)', enabled: 'isWorkspaceTrusted' },
  exportExit: { title: 'Export Exit as a Model …', icon: '$(export)', enabled: 'isWorkspaceTrusted' },
  showReport: { title: 'Show Report …', icon: '$(graph)', enabled: 'isWorkspaceTrusted' },
  importExits: { title: 'Import Exits …', icon: '$(cloud-download)', enabled: 'isWorkspaceTrusted' },
  useModel: { title: 'Use This Model', icon: '$(check)', palette: false },
  useExits: { title: 'Use These Exits', icon: '$(check)', palette: false },
  refresh: { title: 'Refresh', icon: '$(refresh)' },
  restart: { title: 'Restart Backend', icon: '$(debug-restart)' },
  showLogs: { title: 'Show Logs', icon: '$(output)' },
  doctor: { title: 'Doctor: What This Machine Offers', icon: '$(pulse)' },
  status: { title: 'Show Status Menu', palette: false },
} as const satisfies Record<string, CommandSpec>;

export type CommandKey = keyof typeof commands;
export const commandKeys = Object.keys(commands) as CommandKey[];
export const commandId = (key: CommandKey): string => `earlyExit.${key}`;
