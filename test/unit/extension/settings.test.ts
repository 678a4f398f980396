/** Settings and folders of a window, by a stub of the editor. */
import { afterEach, expect, it } from 'vitest';
import { currentFolder } from '../../../extension/folders.ts';
import { displayOrDefaults, settingProblems } from '../../../extension/settings.ts';
import { setSetting, window, workspace } from '../../support/vscode.ts';

afterEach(() => {
  setSetting('earlyExit.display.hover', undefined);
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
  const folder = (path: string, scheme = 'file') => ({ uri: { scheme, path, fsPath: path } });
  expect(currentFolder()).toBeUndefined();
  workspace.workspaceFolders = [folder('/far', 'vscode-vfs'), folder('/a'), folder('/b')];
  expect(currentFolder()?.uri.fsPath).toBe('/a');
  const at = (path: string): string | undefined => {
    window.activeTextEditor = { document: { uri: { path } } };
    return currentFolder()?.uri.fsPath;
  };
  expect([at('/b/src/x.ts'), at('/far/x.ts'), at('/elsewhere/x.ts')]).toEqual(['/b', '/a', '/a']);
});
