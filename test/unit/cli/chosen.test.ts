/** Exits name their model, and a folder goes on with what it used last. */
import { spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { chosenFiles } from '../../../backend/cli/chosen.ts';
import { failingInTheEnd, notingUsed } from '../../../backend/cli/command.ts';
import { tunedFiles } from '../../../backend/cli/commands.ts';
import { failedTrials } from '../../../backend/cli/draw/sweep.ts';
import { importExits } from '../../../backend/recipes/import.ts';
import { rememberUsed } from '../../../backend/recipes/at-hand/last-used.ts';
import type { SweepEvent, TuneEvent } from '../../../protocol/events.ts';
import { optionTables, parseOptions, type CommandName } from '../../../protocol/options/options.ts';
import { bundled } from '../../support/bundled.ts';
import { openScreen, plain, stream } from './screen.ts';

const never = new AbortController().signal;
const model = path.resolve('test/fixtures/golden/tiny/llama-untied');
let root: string;
let exits: string;

beforeEach(async () => {
  root = fs.mkdtempSync(path.join(os.tmpdir(), 'chosen-'));
  process.env['EARLY_EXIT_CACHE'] = path.join(root, 'cache');
  exits = path.join(root, 'my.exits');
  const options = parseOptions('import', { model, layers: '1', out: exits });
  for await (const event of importExits(options, never)) expect(event.type).not.toBe('warning');
});
afterEach(() => fs.rmSync(root, { recursive: true, force: true }));

async function chosen(command: CommandName, given: Readonly<Record<string, unknown>>) {
  const screen = openScreen();
  const context = { terminal: screen.terminal, signal: never, readInput: () => Promise.resolve('') };
  return [await chosenFiles(optionTables[command], given, context), plain(screen.err())];
}

test('exits alone name their model', async () => {
  const printed = 'Model test/fixtures/golden/tiny/llama-untied, to which these exits belong.\n';
  expect(await chosen('generate', { exits })).toEqual([{ model }, printed]);
  expect(await chosen('generate', { exits, model: 'other' })).toEqual([{}, '']);
  await expect(chosen('generate', { exits: root })).rejects.toThrow(/holds no exits/);
});

test('what was used last here is taken up and said, unless something is named', async () => {
  expect(await chosen('generate', {})).toEqual([{}, '']);
  rememberUsed({ model, exits });
  const [found, printed] = await chosen('generate', {});
  expect(found).toEqual({ model, exits });
  expect(printed).toMatch(
    /^With model test\/.*\/llama-untied and exits .*my\.exits, as last here; --model and --exits name others\.\n$/,
  );
  expect((await chosen('tune', {}))[0], 'exits of tune are places').toEqual({ model });
  expect((await chosen('generate', { exits: null }))[0]).toEqual({ model });
  expect(await chosen('generate', { model: 'typescript-5m' })).toEqual([{}, '']);
  for (const same of [model, path.relative(process.cwd(), model)]) {
    const [exitsOfIt, said] = await chosen('generate', { model: same });
    expect(exitsOfIt).toEqual({ exits });
    expect(said).toMatch(/^With exits .*my\.exits, as last here with this model; --exits names others, or none\.\n$/);
  }
  expect(await chosen('generate', { model, exits: null })).toEqual([{}, '']);
  expect(await chosen('tune', { model })).toEqual([{}, '']);
  expect(await chosen('tune', { resume: true })).toEqual([{}, '']);
  expect(await chosen('tune', { continuePretraining: exits })).toEqual([{}, '']);
  expect(await chosen('doctor', {})).toEqual([{}, '']);
  rememberUsed({ model: path.resolve('models/typescript-5m'), exits: null });
  expect(await chosen('generate', {}), 'the default needs no word').toEqual([{}, '']);
});

test('a model that is trained further is that of its exits', () => {
  const words = ['tune', '--continue-pretraining', exits, '--plan', '1', '--json'];
  const { stdout, stderr } = spawnSync(process.execPath, [bundled('cli'), ...words], { encoding: 'utf8' });
  expect(stderr).not.toContain('error');
  expect(JSON.parse(stdout)).toMatchObject({ type: 'planned', model: 'llama-untied' });
});

test('what a run is told in the end, it fails with behind all of its events', async () => {
  const event = (failed: number): SweepEvent => ({
    type: 'swept',
    directory: 'my.sweep',
    groups: [],
    failed: Array.from({ length: failed }, () => ({ name: '001', message: 'no' })),
  });
  const seen: string[] = [];
  const read = async (failed: number): Promise<void> => {
    for await (const { type } of failingInTheEnd(stream(event(failed)), failedTrials)) seen.push(type);
  };
  await read(0);
  await expect(read(2)).rejects.toThrow('2 trials failed.');
  expect(seen).toEqual(['swept', 'swept']);
});

test('a run that was calibrated, or told something else behind its exits, is what the folder goes on with', async () => {
  const told = [
    { type: 'phase' },
    { type: 'tuned', model, directory: exits },
    { type: 'calibrated' },
    { type: 'note' },
  ];
  const events = async function* (): AsyncGenerator<TuneEvent> {
    yield* told as unknown as TuneEvent[];
  };
  const worked = { with: null };
  const passed: string[] = [];
  for await (const { type } of notingUsed(events(), (event) => tunedFiles({}, event), worked)) passed.push(type);
  expect(passed).toEqual(told.map(({ type }) => type));
  expect(worked.with).toEqual({ model, exits });
});
