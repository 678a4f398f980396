/** What is at hand, as a person and as a program read it. */
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { listCommand, listText } from '../../../backend/cli/list.ts';
import type { ExitsAtHand } from '../../../backend/recipes/at-hand/at-hand.ts';
import { importExits } from '../../../backend/recipes/import.ts';
import { rememberUsed } from '../../../backend/recipes/at-hand/last-used.ts';
import { parseOptions } from '../../../protocol/options/options.ts';
import { openScreen, visible } from './screen.ts';

const never = new AbortController().signal;
const model = path.resolve('test/fixtures/golden/tiny/llama-untied');
let root: string;

beforeEach(() => {
  root = fs.mkdtempSync(path.join(os.tmpdir(), 'list-'));
  process.env['EARLY_EXIT_CACHE'] = path.join(root, 'cache');
});
afterEach(() => fs.rmSync(root, { recursive: true, force: true }));

async function lines(): Promise<Record<string, unknown>[]> {
  const screen = openScreen();
  const context = { terminal: screen.terminal, signal: never, readInput: () => Promise.resolve('') };
  expect(await listCommand.run(['--json'], context)).toBe(0);
  return screen
    .out()
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}

test('exits used last are listed from anywhere, with their bytes; damaged ones with what is wrong', async () => {
  const exits = path.join(root, 'my.exits');
  const options = parseOptions('import', { model, layers: '1', out: exits });
  for await (const event of importExits(options, never)) expect(event.type).not.toBe('warning');
  rememberUsed({ model, exits }, root);
  const [first, ...rest] = await lines();
  expect(first).toMatchObject({ type: 'model', name: 'typescript-5m', where: 'ships' });
  const own = rest.find(({ directory }) => directory === exits);
  expect(own).toMatchObject({
    type: 'exits',
    model: 'llama-untied',
    exits: ['1:norm'],
    calibration: null,
    run: null,
    problem: null,
  });
  expect(own!['bytes']).toBeGreaterThan(500);
  fs.writeFileSync(path.join(exits, 'exits.json'), '{}');
  fs.writeFileSync(path.join(exits, 'exits.safetensors'), '');
  const damaged = (await lines()).find(({ directory }) => directory === exits);
  expect(damaged!['problem']).toMatch(/exits\.json cannot be used/);
});

test('exits that were removed are left out, and those with a link to nowhere, or a file in their place, listed', async () => {
  const [removed, linked, file] = ['removed.exits', 'linked.exits', 'file.exits'].map((name) => path.join(root, name));
  fs.mkdirSync(linked!);
  fs.symlinkSync(path.join(root, 'nowhere'), path.join(linked!, 'exits.safetensors'));
  fs.writeFileSync(file!, '');
  for (const exits of [removed!, linked!, file!]) rememberUsed({ model, exits }, `${exits}-folder`);
  const all = await lines();
  const problemOf = (exits: string): unknown => all.find(({ directory }) => directory === exits)?.['problem'];
  expect(problemOf(removed!)).toBeUndefined();
  expect(problemOf(linked!)).toMatch(/holds no exits/);
  expect(problemOf(file!)).toMatch(/a part of the path is not a folder/);
});

test('a table says what exits bring, how old they are, and how a run goes on', () => {
  const hour = 3_600_000;
  const some = (different: Partial<ExitsAtHand>): ExitsAtHand => ({
    directory: 'my.exits',
    model: 'm.gguf',
    exits: ['8:lens', '10:lens'],
    bytes: 80_000_000,
    at: 0,
    agreement: 0.74,
    calibration: null,
    run: null,
    problem: null,
    ...different,
  });
  const screen = openScreen();
  const models = [{ name: 'typescript-5m', reference: 'typescript-5m', bytes: 11_000_000, where: 'ships' }];
  const run = { step: 120, minutes: 4.2, hasState: true };
  const text = listText(screen.terminal.out, models, [some({}), some({ directory: 'a b.exits', run })], 3 * hour);
  expect(visible(text)).toEqual([
    'Models',
    'typescript-5m  11.0 MB  ships with early-exit',
    'Exits',
    'my.exits   80.0 MB  3 hours old  m.gguf  8:lens, 10:lens: not calibrated, agree on 74 % of tokens at best',
    'a b.exits  80.0 MB  3 hours old  m.gguf  8:lens, 10:lens: not calibrated, agree on 74 % of tokens at best',
    'Runs that can go on',
    "  a b.exits, after 120 updates in 4 minutes: npx early-exit tune --out 'a b.exits' --resume",
  ]);
});
