/**
 * The first ten minutes of somebody who has just installed the extension, played in a fresh profile and photographed: the model that ships,
 * then, where EARLY_EXIT_PICTURE_MODEL names one (a GGUF file), a model that people use. What takes long is noted. docs/first-minutes.md
 * shows the pictures, as sheets that test/integration/sheets.ts makes of them. Where EARLY_EXIT_PICTURE_EXITS names exits of that model,
 * they stand in for those of a long run, and the pictures of the other pages are taken with them at the end.
 */
import assert from 'node:assert/strict';
import { cpSync, linkSync, mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import * as vscode from 'vscode';
import type { Trace } from '../../../protocol/exittrace.ts';
import type { RunSummary } from '../../../protocol/server.ts';
import { ask, delay, idle, inView, inWorkbench, press, until } from '../harness/driver.ts';
import {
  activate,
  EXTENSION_ID,
  fileUri,
  pictures,
  placeCursor,
  runIs,
  workspaceFolder,
} from '../harness/extension.ts';
import { fromPalette, pick, take } from '../harness/pick.ts';
import { note, suite, test, type Test } from '../harness/suite.ts';

const { EARLY_EXIT_PICTURE_MODEL: own, EARLY_EXIT_PICTURE_EXITS: exits } = process.env;
const act = (command: string, ...given: unknown[]): Thenable<unknown> =>
  vscode.commands.executeCommand(command, ...given);

/** Milliseconds in which this process ran: if the machine stands still, so does this clock. */
let awake = 0;
let looked = Date.now();
setInterval(() => {
  const now = Date.now();
  awake += Math.min(now - looked, 500);
  looked = now;
}, 50).unref();

/** Notes how long something took that one waits for. */
async function timed<T>(what: string, work: () => Promise<T>): Promise<T> {
  const start = awake;
  const result = await work();
  note(`${what}: ${seconds(awake - start)}`);
  return result;
}
const seconds = (milliseconds: number): string => `${(milliseconds / 1000).toFixed(1)} s`;

/** Messages in the corner go after seconds; in their list they stay for a picture. */
async function picturesWithMessages(name: string): Promise<void> {
  await act('notifications.showList');
  await pictures(name, 'with messages');
  await act('notifications.clearAll');
}

const messages = (): Promise<string> =>
  inWorkbench(`[...document.querySelectorAll('.notification-list-item')].map((each) => each.textContent).join(' | ')`);

const ofMean = `/** Adds up a list of numbers. */
export function sum(values: readonly number[]): number {
  let total = 0;
  for (const value of values) total += value;
  return total;
}

/** The mean of a list of numbers; 0 if there are none. */
export function mean(values: readonly number[]): number {
  `;
const ofRange = `
}

/** The distance of the smallest from the largest. */
export function range(values: readonly number[]): number {
  return Math.max(...values) - Math.min(...values);
}
`;

/** The file with the cursor on the indented line that waits to be written. */
async function atTheGap(before = ofMean, behind = ofRange): Promise<vscode.TextEditor> {
  await act('workbench.action.closeAllEditors');
  const document = await vscode.workspace.openTextDocument(fileUri('sums.ts'));
  const editor = await vscode.window.showTextDocument(document);
  const all = new vscode.Range(document.positionAt(0), document.positionAt(document.getText().length));
  await editor.edit((builder) => builder.replace(all, before + behind));
  await document.save();
  const place = document.positionAt(before.length);
  await placeCursor(editor, place);
  return editor;
}

const configure = (setting: string, value: unknown): Thenable<void> =>
  vscode.workspace.getConfiguration('earlyExit').update(setting, value, vscode.ConfigurationTarget.Workspace);
const hasGhostText = `document.querySelector('.ghost-text-decoration, .ghost-text') !== null`;
const lensIsShown = `[...document.querySelectorAll('.codelens-decoration')].some((each) => each.textContent.includes('tokens'))`;
const draws = (shall: boolean): string => `document.body.style.display = '${shall ? '' : 'none'}'`;
const hasOpinions = `document.querySelectorAll('.opinions tbody th').length > 0`;

/** Generates by the palette. What came stands in the gap, and what stood behind it still does. */
async function generate(what: string): Promise<void> {
  const api = await activate();
  const { document } = await atTheGap();
  await timed(what, async () => {
    await fromPalette('Generate with Early Exits');
    await until('generated text', () => document.getText().length > ofMean.length + ofRange.length, 60);
    await until('its end', async () => (await api.status()).activity === 'idle', 60);
    await until('the last word', async () => {
      const { version } = document;
      await delay(1500);
      return version === document.version;
    });
  });
  const text = document.getText();
  assert.ok(text.startsWith(ofMean.trimEnd()) && text.endsWith(ofRange.trimEnd() + '\n'), text);
  const written = text.slice(ofMean.length, text.length - ofRange.length);
  note(`wrote ${JSON.stringify(written)}`);
  await until('its lens', async () => {
    const lenses = (await act('vscode.executeCodeLensProvider', document.uri, 100)) as vscode.CodeLens[];
    const titles = lenses.map(({ command }) => command?.title ?? '').filter((title) => title.includes('tokens'));
    if (titles.length > 0) note(`lens: ${titles.join(' | ')}`);
    return titles.length > 0;
  });
  await until('its lens on the screen', () => inWorkbench<boolean>(lensIsShown));
}

async function tuneQuick(): Promise<RunSummary> {
  const api = await activate();
  const known = new Set((await api.listRuns()).map(({ id }) => id));
  await fromPalette('Tune Early Exits');
  await until('the question', async () => (await pick()).includes('Start Tuning'));
  await take('Preset', 'about an hour');
  await take('quick', 'Start Tuning');
  await press('Enter');
  return until('a run', async () => (await api.listRuns()).find(({ id }) => !known.has(id)));
}

const curvesShow = (what: string, expression: string, seconds: number): Promise<unknown> =>
  until(what, () => inView<boolean>('curves', expression).catch(() => false), seconds);
const hasPoints = `/\\d/.test([...document.querySelectorAll('.readout td')].map((each) => each.textContent).join(''))`;

/** Seconds of a run at most: it takes as long as a calibration needs. */
const longestRun = 1500;
let tuned: RunSummary;
let started = 0;

/** A run to its end, or, with exits that are `ready`, stopped as soon as its plan was seen. */
const tunes = (model: string, name: string, ready?: string): Test[] => [
  test(`${model}: tuning is one question`, async () => {
    await fromPalette('Tune Early Exits');
    await until('the question', async () => (await pick()).includes('Start Tuning'));
    await pictures(`${name}-question`);
    await press('Escape');
    started = awake;
    tuned = await tuneQuick();
  }),
  test(`${model}: curves from the first minute on`, async () => {
    const api = await activate();
    await curvesShow('the plan', `/left.*calibration/.test(document.querySelector('header')?.textContent)`, 100);
    note(`the time that is left and the parts of the plan are there after ${seconds(awake - started)}`);
    await curvesShow('their times', `document.querySelectorAll('.progress .part').length > 1`, 100);
    note(`the time of each part is there after ${seconds(awake - started)}`);
    note(await inView<string>('curves', `document.querySelector('header').innerText.replaceAll('\\n', ' ')`));
    await pictures(`${name}-tuning`);
    tuned = await runIs(api, tuned.id, ['running', 'finished']);
  }),
  ready === undefined
    ? test(`${model}: the run ends, and says what comes next`, () => untilTuned(name), longestRun + 100)
    : test(`${model}: the run is stopped, for exits that are ready`, async () => {
        await act('earlyExit.stopRun', tuned);
        await runIs(await activate(), tuned.id, ['stopped', 'failed']);
        const directory = path.join(workspaceFolder(), 'ten-minutes.exits');
        cpSync(ready, directory, { recursive: true });
        await configure('decoding.exits', directory);
        await act('notifications.clearAll');
      }),
];

async function untilTuned(name: string): Promise<void> {
  await runIs(await activate(), tuned.id, ['finished'], longestRun);
  note(`tuned in ${seconds(awake - started)}`);
  await curvesShow('its points', hasPoints, 30);
  await until('the news', async () => (await messages()).includes('tuned'));
  note(await messages());
  await picturesWithMessages(`${name}-tuned`);
}

/** One model: tuned, generated with and looked at. */
const stages = (model: string, name: string, ready?: string): Test[] => [
  ...tunes(model, name, ready),
  test(`${model}: generates with its exits`, async () => {
    await generate('with exits');
    await pictures(`${name}-generated`);
  }),
  test(`${model}: shows what every exit said`, async () => {
    await act('earlyExit.showDetails');
    await until('the details', () => inView<boolean>('details', hasOpinions).catch(() => false));
    await pictures(`${name}-details`);
    await act('workbench.action.closeEditorsInOtherGroups');
  }),
];

const withShipped: Test[] = [
  test('the walkthrough says what to do', async () => {
    await act('workbench.action.openWalkthrough', `${EXTENSION_ID}#start`, false);
    await until('a picture', () =>
      inWorkbench<boolean>(`document.querySelector('.getting-started-media img')?.naturalWidth > 0`),
    );
    await pictures('1-walkthrough');
  }),
  test('the first generation, with nothing tuned or chosen', async () => {
    await generate('the first generation, with the start of the backend');
    await until('what the model is for', async () => (await messages()).includes('5 million parameters'));
    note(await messages());
    await picturesWithMessages('2-first');
  }),
  ...stages('typescript-5m', '3'),
];

const withOwn = (model: string): Test[] => [
  test('the list of models has what is on this machine', async () => {
    const folder = path.join(process.env.LMSTUDIO_MODELS!, 'Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF');
    mkdirSync(folder, { recursive: true });
    linkSync(model, path.join(folder, 'qwen2.5-coder-0.5b-instruct-q8_0.gguf'));
    await act('workbench.action.closeAllEditors');
    await atTheGap();
    await timed('the list', async () => {
      await fromPalette('Choose Model …');
      await until('the model', async () => (await pick()).includes('qwen2.5-coder-0.5b'));
    });
    await pictures('4-models');
    await ask({ do: 'type', text: 'qwen2.5-coder-0.5b' });
    await delay(500);
    await press('Enter');
    await until('the choice', () =>
      /qwen2\.5-coder-0\.5b/.test(vscode.workspace.getConfiguration('earlyExit').get<string>('model') ?? ''),
    );
  }),
  test('the chosen model writes, at full depth', async () => {
    await generate('its first generation, with opening it');
    await pictures('5-chosen');
  }),
  ...stages('the chosen model', '6', exits),
  test('completions come while one types', async () => {
    await configure('completions.enabled', true);
    await atTheGap();
    await act('workbench.action.focusActiveEditorGroup');
    await idle();
    await timed('a suggestion', async () => {
      await ask({ do: 'type', text: 'ret' });
      await until('ghost text', () => inWorkbench<boolean>(hasGhostText));
    });
    await pictures('7-completion');
  }),
];

const ofWordCounts = `${ofMean}return values.length === 0 ? 0 : sum(values) / values.length;
}

/** How often each word occurs in a text. */
export function wordCounts(text: string): Map<string, number> {
  `;

let made: Trace | null = null;
let traceText = '';
const rounds = 3;

/** What README and the walkthrough show: a text in the exits' colours, its trace, and a suggestion. */
const ofPages = (model: string, exits: string): Test[] => [
  test('pages: a text in the colours of the exits', async () => {
    const api = await activate();
    await configure('model', model);
    await configure('completions.enabled', false);
    // A session's first text tells no speed, and other work of a busy machine may hold up any.
    for (let round = 0, speedup = 0; round < rounds && speedup < 1.05; round++) {
      await atTheGap(ofWordCounts, '\n}\n');
      // Here the processors draw the window, too, which is the work of a graphics card elsewhere.
      await inWorkbench(draws(false));
      made = (await api.generateAtCursor({ mode: 'fast', exits }))?.trace ?? null;
      await inWorkbench(draws(true));
      speedup = made?.speedup ?? 0;
      note(`${speedup} × ${JSON.stringify(made?.tokens.map(({ text }) => text).join(''))}`);
    }
    await until('its lens on the screen', () => inWorkbench<boolean>(lensIsShown));
    await pictures('pages-fast');
    await act('earlyExit.showDetails');
    await until('the details', () => inView<boolean>('details', hasOpinions).catch(() => false));
    await pictures('pages-fast-details');
    await ask({ do: 'click', view: 'details', selector: 'vscode-button[aria-label="Open as Trace"]' });
    traceText = await until('its trace', () => {
      const document = vscode.window.activeTextEditor?.document;
      return document?.languageId === 'exittrace' ? document.getText() : null;
    });
    await act('workbench.action.closeActiveEditor');
    await act('workbench.action.closeEditorsInOtherGroups');
  }),
  test('pages: its trace', async () => {
    const file = path.join(workspaceFolder(), 'word-counts.exittrace');
    // The speed of a machine that others use is none.
    const { speedup = 0 } = made!;
    writeFileSync(file, speedup > 1 ? traceText : traceText.replace(/^speedup .*\n/m, ''));
    await vscode.window.showTextDocument(await vscode.workspace.openTextDocument(file));
    await until('its lenses', () => inWorkbench<boolean>(lensIsShown));
    await pictures('pages-trace');
  }),
  test('pages: a suggestion', async () => {
    await activate();
    await configure('model', model);
    await configure('completions.enabled', true);
    await configure('completions.maxMilliseconds', 10_000);
    await atTheGap();
    await act('workbench.action.focusActiveEditorGroup');
    await act('editor.action.inlineSuggest.trigger');
    await until('ghost text', () => inWorkbench<boolean>(hasGhostText));
    await pictures('pages-completion');
  }),
];

export const run = suite([
  ...withShipped,
  ...(own === undefined ? [] : withOwn(own)),
  ...(own === undefined || exits === undefined ? [] : ofPages(own, exits)),
]);
