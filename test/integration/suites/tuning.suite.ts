/** The command as a user gives it: from the palette to a checkpoint on disk, with the curves drawn meanwhile. */
import assert from 'node:assert/strict';
import { cpSync, existsSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import * as vscode from 'vscode';
import { ask, delay, inView, inWorkbench, press, resize, screenshot, until } from '../harness/driver.ts';
import { activate, fileUri, pictures, runIs, workspaceFolder } from '../harness/extension.ts';
import { fromPalette, hasKeys, pick, take } from '../harness/pick.ts';
import { suite, test } from '../harness/suite.ts';

/** Values of the readout by exit: training, smoothed, held-out, agreement. */
const readout = (): Promise<Record<string, string[]>> =>
  inView(
    'curves',
    `Object.fromEntries([...document.querySelectorAll('.readout tr[data-exit]')].map((row) => [row.dataset.exit, [...row.querySelectorAll('td')].map((cell) => cell.textContent)]))`,
  );
const headerText = (): Promise<string> => inView('curves', `document.querySelector('header')?.textContent ?? ''`);
/** How many pixels of the chart are neither background nor transparent. */
const inkedPixels = (): Promise<number> =>
  inView(
    'curves',
    `(() => { const canvas = document.querySelector('canvas'); const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data; let count = 0; for (let i = 3; i < data.length; i += 4) if (data[i] > 128) count++; return count; })()`,
  );
const clickButton = (label: string): Promise<unknown> =>
  ask({ do: 'click', view: 'curves', selector: `vscode-button[aria-label="${label}"]` });

async function openQuestion(): Promise<void> {
  await fromPalette('Tune Early Exits');
  await until('the question', async () => (await pick()).includes('Start Tuning'));
}

/** Texts in the panel that do not fit into their place. */
const cutTexts = (): Promise<string[]> =>
  inView(
    'curves',
    `[...document.querySelectorAll('header *, .toolbar *, .readout *')].filter((each) => each.scrollWidth > each.clientWidth + 1 && getComputedStyle(each).overflowX !== 'visible').map((each) => each.className + ' ' + each.textContent)`,
  );

let id = '';

export const run = suite([
  test('starts from the palette with one Enter in its only question', async () => {
    const api = await activate();
    await openQuestion();
    await until('the question, with the keys', hasKeys);
    await pictures('tune-question');
    await take('Preset', 'about an hour');
    assert.match(await pick(), /quick.*about a minute.*standard.*about ten minutes · default/);
    await take('quick', 'Start Tuning');
    await take('Exits', 'Layers of your own');
    assert.match(await pick(), /lens.*default.*norm.*mlp.*layer.*embedding/);
    await press('Escape');
    await until('the question again', async () => (await pick()).includes('Start Tuning'));
    await press('Enter');
    const run = await until('a run', async () => (await api.listRuns())[0]);
    id = run.id;
    assert.equal(run.title, 'typescript-5m · 4:norm,8:norm · 200 steps · tuning');
  }),

  test('draws what arrives: a curve for each exit, the final exit as the line to reach', async () => {
    const exits = await until(
      'an evaluation in the webview',
      async () => {
        const values = await readout().catch((): Record<string, string[]> => ({}));
        return /\d/.test(values['8:norm']?.[0] ?? '') && /\d/.test(values.final?.[2] ?? '') ? values : null;
      },
      100,
    );
    assert.deepEqual(Object.keys(exits), ['4:norm', '8:norm', 'final']);
    const pixels = await inkedPixels();
    assert.ok(pixels > 800, `${pixels} pixels are drawn`);
    const running = /tokens per second\d.*left\d/;
    await until('speed and time in the header', async () => running.test(await headerText()));
  }),

  test('pauses, keeps its work and resumes, by the buttons of the panel', async () => {
    const api = await activate();
    await inView('curves', `document.querySelector('vscode-button[aria-label="Pause"]').focus()`);
    await clickButton('Pause');
    const paused = await runIs(api, id, ['paused', 'finished']);
    assert.equal(paused.state, 'paused');
    await until('the Resume button', async () =>
      inView('curves', `document.querySelector('vscode-button[aria-label="Resume"]') !== null`),
    );
    const focused = `document.activeElement.getAttribute('aria-label')`;
    assert.equal(
      await inView('curves', focused),
      'Resume',
      'the focus goes to the button in the place of the pressed one',
    );
    await clickButton('Resume');
    await runIs(api, id, ['running', 'finished']);
  }),

  test('ends with a checkpoint on disk and losses below those at the start', async () => {
    const api = await activate();
    const run = await runIs(api, id, ['finished'], 110);
    assert.equal(run.directory, path.join(workspaceFolder(), 'typescript-5m.exits'));
    const names = ['exits.json', 'exits.safetensors', 'metrics.jsonl', 'README.md'];
    assert.deepEqual(
      names.filter((name) => !existsSync(path.join(run.directory, name))),
      [],
    );
    const file = JSON.parse(readFileSync(path.join(run.directory, 'exits.json'), 'utf8')) as { exits: unknown[] };
    assert.equal(file.exits.length, 2);
    const end = (await api.readRun(id)).find((event) => event.type === 'tuned');
    assert.ok(end, 'the run told its end');
    for (const before of end.before.filter(({ exit }) => exit !== 'final')) {
      const after = end.after.find(({ exit }) => exit === before.exit);
      assert.ok(after && after.loss < before.loss, `${before.exit}: ${before.loss} → ${after?.loss}`);
    }
    const header = await until('the end in the header', async () => {
      const text = await headerText();
      return text.includes('finished') && text;
    });
    assert.match(header, /finished.*updates200.*took\d/);
    assert.doesNotMatch(header, /Done|of 200|left/, 'it is said once');
    const progress = `document.querySelector('[role="progressbar"]').getAttribute('aria-valuenow')`;
    assert.equal(await inView('curves', progress), '100');
  }),

  test('asks its question also from the title of the runs, which passes the row that has the focus', async () => {
    const api = await activate();
    const [row] = await api.listRuns();
    void vscode.commands.executeCommand('earlyExit.tune', row);
    await until('the question', async () => (await pick()).includes('Start Tuning'));
    await press('Escape');
    await until('no question', async () => !(await pick()).includes('Start Tuning'));
    assert.equal((await api.listRuns()).length, 1);
  }),

  test('says once that it has finished, and offers to generate', async () => {
    const news = (): Promise<number> =>
      inWorkbench(
        `[...document.querySelectorAll('.notification-list-item')].filter((each) => /the exits are tuned/.test(each.textContent) && /Generate/.test(each.textContent)).length`,
      );
    await until('the news', async () => (await news()) === 1);
    const editor = vscode.window.visibleTextEditors.find(({ document }) => document.fileName.endsWith('sums.ts'));
    const { document } =
      editor ?? (await vscode.window.showTextDocument(fileUri('sums.ts'), { viewColumn: vscode.ViewColumn.One }));
    const before = document.getText();
    await inWorkbench(
      `[...document.querySelectorAll('.notification-list-item .monaco-button')].find((each) => each.textContent === 'Generate').click()`,
    );
    await until('generated text', () => document.getText().length > before.length + 40);
    await vscode.commands.executeCommand('earlyExit.stopGeneration');
    const api = await activate();
    await until('its end', async () => (await api.status()).activity === 'idle');
    await delay(1000);
    assert.equal(await news(), 0, 'it is said once');
    await vscode.window.showTextDocument(document, vscode.ViewColumn.One);
    await vscode.commands.executeCommand('workbench.action.files.revert');
    assert.equal(document.getText(), before);
  }),

  test('can be steered by keys, switches scale and curves, and keeps the choice', async () => {
    await vscode.commands.executeCommand('earlyExit.showCurves');
    await until('the curves and their points', () =>
      inView<boolean>(
        'curves',
        `document.querySelector('.chart') !== null && document.querySelector('tr[data-exit="4:norm"]') !== null`,
      ),
    );
    assert.match(
      await inView(
        'curves',
        `document.querySelector('.chart').textContent + document.querySelector('.toolbar').textContent`,
      ),
      /Gap to Final/,
    );
    const gap = Number((await readout())['8:norm']?.[2]);
    const pressed = (label: string): Promise<boolean> =>
      inView(
        'curves',
        `document.querySelector('vscode-button[aria-label="${label}"]')?.getAttribute('aria-pressed') === 'true'`,
      );
    assert.equal(await pressed('Gap to Final'), true);
    await clickButton('Loss');
    await until('the losses', async () => Number((await readout())['8:norm']?.[2]) > gap + 1);
    const losses = await readout();
    assert.ok(
      Math.abs(Number(losses['8:norm']![2]) - Number(losses.final![2]) - gap) < 0.0015,
      'the gap is that of the losses',
    );
    await inView('curves', `document.querySelector('.chart').focus()`);
    await press('End');
    const spoken = async (): Promise<string | undefined> =>
      /^Step (\d+), 4:norm: \d/.exec(await inView('curves', `document.querySelector('[aria-live]').textContent`))?.[1];
    const last = await until('the spoken values', spoken);
    await press('Home');
    await until('the first step', async () => Number(await spoken()) < Number(last));
    await clickButton('Log');
    await ask({ do: 'click', view: 'curves', selector: 'tr[data-exit="4:norm"] vscode-checkbox' });
    const keepsFocus = `document.activeElement?.matches('tr[data-exit="4:norm"] vscode-checkbox')`;
    await until('the state', async () => {
      const pressed = `document.querySelector('vscode-button[aria-label="Log"]').getAttribute('aria-pressed')`;
      return (await inView<string>('curves', pressed)) === 'true';
    });
    assert.equal(await inView('curves', keepsFocus), true, 'a switch keeps the focus');
    await ask({ do: 'click', view: 'curves', selector: '.table summary' });
    const rows = await inView<number>('curves', `document.querySelectorAll('.table tbody tr').length`);
    assert.ok(rows >= 2, `${rows} rows in the table`);
    await ask({ do: 'click', view: 'curves', selector: '.table summary' });
    // Hidden and shown again, the view comes back as it was left.
    await vscode.window.showTextDocument(fileUri('sums.ts'), { viewColumn: vscode.ViewColumn.Active });
    await vscode.commands.executeCommand('earlyExit.showCurves');
    await until('the view as it was', async () => {
      const pressed = `document.querySelector('vscode-button[aria-label="Log"]')?.getAttribute('aria-pressed')`;
      return (await inView<string>('curves', pressed)) === 'true';
    });
    await ask({ do: 'click', view: 'curves', selector: 'tr[data-exit="4:norm"] vscode-checkbox' });
    assert.equal(await pressed('Loss'), true, 'the view, too');
    await clickButton('Linear');
    await clickButton('Gap to Final');
  }),

  test('exports what it shows as SVG, PNG and every point as CSV', async () => {
    const starts = { svg: '<svg ', png: '\x89PNG', csv: 'run,step,exit,' };
    for (const [format, start] of Object.entries(starts)) {
      const file = path.join(workspaceFolder(), `loss-curves-typescript-5m-4-norm-8-norm-200-steps-tuning.${format}`);
      await ask({ do: 'click', view: 'curves', selector: '.popup:last-of-type summary' });
      await ask({ do: 'click', view: 'curves', selector: `[data-format="${format}"]` });
      await until(
        'the question where to',
        () =>
          ask({
            do: 'workbench',
            expression: `document.querySelector('.quick-input-widget:not([style*="display: none"]) input')?.value.endsWith('.${format}')`,
          }) as Promise<boolean>,
      );
      await press('Enter');
      await until(`the ${format}`, () => existsSync(file) && statSync(file).size > 0);
      const bytes = readFileSync(file);
      assert.equal(bytes.subarray(0, start.length).toString('latin1'), start);
      if (format === 'csv') assert.ok(bytes.toString().split('\n').length > 240, 'a line for each step and exit');
    }
  }),

  test('compares runs, and lists them with exits and models in the side bar', async () => {
    const api = await activate();
    const other = await api.startRun({ steps: 6, exits: '6:norm' });
    assert.ok(other);
    await runIs(api, other.id, ['finished'], 110);
    await ask({ do: 'click', view: 'curves', selector: '.popup:not(:last-of-type) summary' });
    await ask({ do: 'click', view: 'curves', selector: '.popup:not(:last-of-type) vscode-checkbox' });
    const rows = await until('three exits in the legend', async () => {
      const exits = Object.keys(await readout());
      return exits.length === 4 ? exits : null;
    });
    assert.deepEqual(rows, ['4:norm', '6:norm', '8:norm', 'final']);
    for (const [exit, values] of Object.entries(await readout())) assert.match(values[2] ?? '', /\d/, exit);
    await ask({ do: 'click', view: 'curves', selector: 'header h1' });
    await vscode.commands.executeCommand('workbench.view.extension.earlyExit');
    const side = await until('the lists', async () => {
      const text = (await ask({
        do: 'workbench',
        expression: `document.querySelector('.sidebar')?.textContent ?? ''`,
      })) as string;
      return ['typescript-5m · 6:norm · 6 steps · tuning', 'typescript-5m-2.exits', 'ships with the extension'].every(
        (each) => text.includes(each),
      );
    });
    assert.ok(side);
    await vscode.commands.executeCommand('notifications.clearAll');
    await delay(500);
    await screenshot('side-bar');
    await vscode.commands.executeCommand('workbench.view.explorer');
    await ask({ do: 'click', view: 'curves', selector: '.popup:not(:last-of-type) summary' });
    await ask({ do: 'click', view: 'curves', selector: '.popup:not(:last-of-type) vscode-checkbox' });
    await ask({ do: 'click', view: 'curves', selector: 'header h1' });
    await vscode.commands.executeCommand('earlyExit.showCurves', { id, state: 'finished' });
  }),

  test('shows the report of a run and of a sweep, a page that runs no script and is as dark as the editor', async () => {
    const api = await activate();
    const run = (await api.listRuns()).find((each) => each.id === id);
    assert.ok(run);
    await vscode.commands.executeCommand('earlyExit.showReport', run);
    const text = await until('the report', () => inView<string>('report', `document.body.textContent`).catch(() => ''));
    for (const each of ['typescript-5m.exits', 'Held-out loss', '4:norm', 'Cost']) assert.ok(text.includes(each), each);
    const policy = `document.querySelector('meta[http-equiv="Content-Security-Policy"]').content`;
    assert.equal(await inView('report', policy), "default-src 'none'; style-src 'unsafe-inline'");
    assert.equal(await inView('report', `getComputedStyle(document.body).backgroundColor`), 'rgb(30, 30, 30)');
    await screenshot('report');

    // A sweep is listed, and its report is the row's own command.
    const sweep = path.join(workspaceFolder(), 'my.sweep');
    try {
      cpSync(run.directory, path.join(sweep, '001.exits'), { recursive: true });
      writeFileSync(path.join(sweep, 'sweep.json'), JSON.stringify({ format: 1, trials: [{}] }));
      await vscode.commands.executeCommand('workbench.view.extension.earlyExit');
      await vscode.commands.executeCommand('earlyExit.refresh');
      const row = `[...document.querySelectorAll('.sidebar .monaco-list-row')].find((each) => each.textContent.includes('my.sweep'))`;
      await until('the sweep in the list', async () =>
        inWorkbench<boolean>(`${row}?.textContent.includes('1 trial') ?? false`),
      );
      await vscode.commands.executeCommand('earlyExit.showReport', { directory: sweep });
      await until('the report of the sweep', () =>
        inView<boolean>('report', `document.body.textContent.includes('my.sweep/001.exits')`).catch(() => false),
      );
    } finally {
      rmSync(sweep, { recursive: true, force: true });
      await vscode.commands.executeCommand('earlyExit.refresh');
    }
    await vscode.commands.executeCommand('workbench.action.closeActiveEditor');
    await vscode.commands.executeCommand('workbench.view.explorer');
  }),

  test('tunes where the question says: in PyTorch, whose steps are drawn like any', async () => {
    const api = await activate();
    const before = new Set((await api.listRuns()).map((run) => run.id));
    await clickButton('Loss');
    await openQuestion();
    await take('Where', 'PyTorch on this machine');
    await take('PyTorch on this machine', 'Start Tuning');
    assert.match(await pick(), /Where ….*torchrun/);
    await press('Enter');
    const run = await until('a run', async () => (await api.listRuns()).find((each) => !before.has(each.id)));
    // A made-up Python is all that there is here of PyTorch: test/integration/harness/python-stand-in.sh.
    const { message } = await runIs(api, run.id, ['failed'], 110);
    assert.match(message, /The rank that stands in has done its step/);
    const events = await api.readRun(run.id);
    const ready = events.find((event) => event.type === 'ready');
    assert.equal(ready?.device, 'PyTorch, pp=1,dp=1,tp=1');
    const values = await until('its step', async () => {
      const shown = await readout();
      return shown['4:norm']?.[0]?.startsWith('3.25') ? shown : null;
    });
    assert.match(values['8:norm']?.[0] ?? '', /^2\.75/);
    await clickButton('Gap to Final');
  }),

  test('shows the whole error of a run that failed', async () => {
    const api = await activate();
    const failing = await api.startRun({ steps: 6, model: fileUri('no-such-model').fsPath });
    assert.ok(failing);
    const { message } = await runIs(api, failing.id, ['failed']);
    const shown = await until('the error', () =>
      inView<string | null>('curves', `document.querySelector('[role="alert"]')?.textContent`),
    );
    assert.equal(shown, message);
    assert.match(message, /no-such-model/);
    const cut = `(() => { const box = document.querySelector('[role="alert"]'); return box.scrollWidth > box.clientWidth; })()`;
    assert.equal(await inView('curves', cut), false);
    const axes = `getComputedStyle(document.querySelector('.uplot')).visibility`;
    assert.equal(await inView('curves', axes), 'hidden', 'axes without a point are not shown');
    await screenshot('curves-failed');
    await vscode.commands.executeCommand('earlyExit.showCurves', { id, state: 'finished' });
  }),

  test('follows the theme, and can be used beside an editor in a small window', async () => {
    await pictures('curves');
    await vscode.commands.executeCommand('workbench.action.closeSidebar');
    await vscode.window.showTextDocument(fileUri('sums.ts'), { viewColumn: vscode.ViewColumn.One });
    await vscode.commands.executeCommand('earlyExit.showCurves');
    await vscode.commands.executeCommand('workbench.action.moveEditorToRightGroup');
    await resize('small');
    const drawn = `document.querySelector('.chart canvas')?.clientWidth < 400`;
    await until('the curves beside the editor', () => inView<boolean>('curves', drawn));
    await delay(1000);
    await screenshot('curves-beside-small');
    const box = (selector: string): string =>
      `(({ width, height, left, right }) => ({ width, height, left, right }))(document.querySelector('${selector}').getBoundingClientRect())`;
    const chart = await inView<{ width: number; height: number; right: number }>('curves', box('.chart'));
    assert.ok(chart.width >= 250 && chart.height >= 180, JSON.stringify(chart));
    assert.deepEqual(await cutTexts(), []);
    const compare = '.popup:not(:last-of-type)';
    await ask({ do: 'click', view: 'curves', selector: `${compare} summary` });
    const menu = await inView<{ left: number; right: number }>('curves', box(`${compare} .menu`));
    const room = await inView<number>('curves', `document.documentElement.clientWidth`);
    assert.ok(menu.left >= 0 && menu.right <= room, `the menu ${JSON.stringify(menu)} is within ${room}`);
    await screenshot('curves-menu-small');
    const isOpen = `document.querySelector('${compare}').open`;
    assert.equal(await inView('curves', isOpen), true);
    await inView('curves', `document.querySelector('.chart').focus()`);
    assert.equal(await inView('curves', isOpen), false, 'it closes when the focus goes elsewhere');
    const overflow = `document.documentElement.scrollWidth > document.documentElement.clientWidth`;
    assert.equal(await inView('curves', overflow), false, 'nothing is cut off at the right');
    await vscode.commands.executeCommand('workbench.view.explorer');
    const folded = `document.querySelector('.chart canvas')?.clientWidth < 250`;
    await until('the curves beside an editor and a side bar', () => inView<boolean>('curves', folded));
    await screenshot('curves-beside-side-bar-small');
    assert.deepEqual(await cutTexts(), []);
    assert.equal(await inView('curves', overflow), false, 'nor beside a side bar');
    await resize('large');
  }),
]);
