/** A folder that is not trusted: a stub of the editor says so. */
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { App } from '../../../../extension/app.ts';
import type { Backend } from '../../../../extension/backend/backend.ts';
import { useModel } from '../../../../extension/models/model-and-exits.ts';
import { createRuns, type Runs } from '../../../../extension/runs/runs.ts';
import * as protocol from '../../../../protocol/server.ts';
import { ConfigurationTarget, messages, setSetting, workspace, writtenTo } from '../../../support/vscode.ts';

let sent: string[];
let runs: Runs;
const backend = {
  send: async ({ method }: { method: string }) => {
    sent.push(method);
    return [];
  },
  listen: () => ({ dispose: () => undefined }),
  onReady: () => ({ dispose: () => undefined }),
} as unknown as Backend;

beforeEach(() => {
  sent = [];
  messages.length = 0;
  runs = createRuns(backend, []);
  workspace.isTrusted = false;
  workspace.workspaceFolders = [{ uri: { scheme: 'file', path: '/a', fsPath: '/a' } }];
});
afterEach(() => {
  workspace.isTrusted = true;
  workspace.workspaceFolders = undefined;
  setSetting('earlyExit.model', undefined);
  setSetting('earlyExit.model', undefined, 'workspaceValue');
});

it('is one in which no run goes on, whatever asks for it, and a message says why', async () => {
  expect(await runs.resume('a')).toBeNull();
  expect(sent).toEqual([]);
  expect(messages).toEqual(['This folder is not trusted: nothing is tuned in it.']);
  await runs.pause('a');
  workspace.isTrusted = true;
  await runs.resume('a');
  expect(sent).toEqual([protocol.pauseRun.method, protocol.resumeRun.method]);
});

it('is none to write the chosen model into, as it would not count there', async () => {
  const app = { backend } as App;
  await useModel(app, 'owner/name');
  expect(writtenTo.get('earlyExit.model')).toBe(ConfigurationTarget.Global);
  workspace.isTrusted = true;
  await useModel(app, 'owner/other');
  expect(writtenTo.get('earlyExit.model')).toBe(ConfigurationTarget.Workspace);
});
