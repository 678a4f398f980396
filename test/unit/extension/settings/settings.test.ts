/** Settings and folders of a window, by a stub of the editor. */
import { homedir } from 'node:os';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { currentFolder } from '../../../../extension/settings/folders.ts';
import type { App } from '../../../../extension/app.ts';
import { exitsInUse, useModel } from '../../../../extension/models/model-and-exits.ts';
import { displayOrDefaults, explicit, settingProblems } from '../../../../extension/settings/settings.ts';
import * as protocol from '../../../../protocol/server.ts';
import { ConfigurationTarget, setSetting, window, workspace, writtenTo } from '../../../support/vscode.ts';

const levels = ['globalValue', 'workspaceValue', 'workspaceFolderValue'] as const;
const folder = (path: string, scheme = 'file') => ({ uri: { scheme, path, fsPath: path } });
const [model, exits, maxTokens] = ['earlyExit.model', 'earlyExit.decoding.exits', 'earlyExit.decoding.maxTokens'];

afterEach(() => {
  setSetting('earlyExit.display.hover', undefined);
  for (const level of levels) for (const name of [model, exits, maxTokens]) setSetting(name, undefined, level);
  workspace.isTrusted = true;
  workspace.workspaceFolders = undefined;
  window.activeTextEditor = undefined;
});

it('a wrong one of the display is named, and the defaults apply', () => {
  const usual = displayOrDefaults();
  expect(usual).toMatchObject({ codeLens: true, hover: true, inlayHints: false });
  setSetting('earlyExit.display.hover', false);
  expect(displayOrDefaults()).toEqual({ ...usual, hover: false });
  setSetting('earlyExit.display.hover', 'off');
  expect(displayOrDefaults()).toEqual(usual);
  expect(settingProblems().join()).toMatch(/^earlyExit\.display\.hover must be .*, not "off"\.$/);
});

it('of several folders, that of the active editor is worked in, else the first on the disk', () => {
  expect(currentFolder()).toBeUndefined();
  workspace.workspaceFolders = [folder('/far', 'vscode-vfs'), folder('/a'), folder('/b')];
  expect(currentFolder()?.uri.fsPath).toBe('/a');
  const at = (path: string): string | undefined => {
    window.activeTextEditor = { document: { uri: { path } } };
    return currentFolder()?.uri.fsPath;
  };
  expect([at('/b/src/x.ts'), at('/far/x.ts'), at('/elsewhere/x.ts')]).toEqual(['/b', '/a', '/a']);
});

it('null in a folder takes back what is set for the user', () => {
  setSetting(exits, '/a.exits');
  expect(explicit(exits)).toBe('/a.exits');
  setSetting(exits, null, 'workspaceValue');
  expect(explicit(exits)).toBeUndefined();
});

it('~ in a path is the user’s own folder', () => {
  const data = 'earlyExit.tuning.data';
  setSetting(model, '~/models/a.gguf');
  setSetting(exits, '~');
  setSetting(data, ['~/notes/*.md', 'src/~/*.ts']);
  expect(explicit(model)).toBe(`${homedir()}/models/a.gguf`);
  expect(explicit(exits)).toBe(homedir());
  expect(explicit(data)).toEqual([`${homedir()}/notes/*.md`, 'src/~/*.ts']);
  setSetting(data, undefined);
});

it('of a folder that is not trusted, all settings count but those that name files and programs', () => {
  workspace.isTrusted = false;
  setSetting(maxTokens, 7, 'workspaceValue');
  setSetting(model, 'owner/name', 'workspaceValue');
  expect([explicit(maxTokens), explicit(model)]).toEqual([7, undefined]);
  workspace.isTrusted = true;
  expect(explicit(model)).toBe('owner/name');
});

describe('choosing a model', () => {
  const listed = { directory: '/b/my.exits', name: 'my', model: 'b.gguf' };
  const app = {
    backend: {
      send: async ({ method }: { method: string }) =>
        method === protocol.findExitsOf.method ? { directory: null } : [listed],
    },
  } as unknown as App;
  beforeEach(() => {
    workspace.workspaceFolders = [folder('/a'), folder('/b')];
    window.activeTextEditor = { document: { uri: { path: '/b/x.ts' } } };
  });

  it('keeps exits that fit it, also those named by a path in the folder', async () => {
    setSetting(exits, 'my.exits', 'workspaceFolderValue');
    expect(await exitsInUse(app)).toBe('/b/my.exits');
    await useModel(app, '/models/b.gguf');
    expect(explicit(exits)).toBe('my.exits');
    // The same once more; the exits may lie where no list has them.
    setSetting(exits, '/elsewhere/other.exits', 'workspaceFolderValue');
    await useModel(app, '/models/b.gguf');
    expect(explicit(exits)).toBe('/elsewhere/other.exits');
    await useModel(app, '/models/c.gguf');
    expect(explicit(exits)).toBeUndefined();
  });

  it('of a chat has the newest exits of that model, not those chosen for another', async () => {
    setSetting(model, 'a.gguf', 'workspaceFolderValue');
    setSetting(exits, '/a.exits', 'workspaceFolderValue');
    expect(await exitsInUse(app, undefined, 'a.gguf')).toBe('/a.exits');
    expect(await exitsInUse(app, undefined, '/models/b.gguf')).toBe('/b/my.exits');
    expect(await exitsInUse(app, undefined, '/models/c.gguf')).toBeNull();
  });

  it('writes into the folder of the active editor if that sets one, else into the workspace', async () => {
    await useModel(app, 'c.gguf');
    expect(writtenTo.get(model)).toBe(ConfigurationTarget.Workspace);
    setSetting(model, 'd.gguf', 'workspaceFolderValue');
    await useModel(app, 'e.gguf');
    expect(writtenTo.get(model)).toBe(ConfigurationTarget.WorkspaceFolder);
    expect(explicit(model)).toBe('e.gguf');
  });
});
