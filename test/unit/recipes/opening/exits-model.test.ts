/** Exits find their own model, a folder remembers what it used last, and neither tells where it lies on a disk. */
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { readInfo } from '../../../../backend/checkpoint/checkpoint.ts';
import { readTuning, writtenTuning } from '../../../../backend/checkpoint/portable.ts';
import { modelOfExits } from '../../../../backend/recipes/opening/exits-model.ts';
import { importExits } from '../../../../backend/recipes/import.ts';
import { lastUsed, rememberUsed } from '../../../../backend/recipes/at-hand/last-used.ts';
import { defaultDirectory } from '../../../../backend/recipes/training/options.ts';
import { parseOptions } from '../../../../protocol/options/options.ts';

const tiny = path.resolve('test/fixtures/golden/tiny/llama-untied');
const never = new AbortController().signal;
let root: string;
const at = (...names: string[]): string => path.join(root, ...names);

beforeEach(() => {
  root = fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), 'exits-model-')));
  process.env['EARLY_EXIT_CACHE'] = at('cache');
  fs.cpSync(tiny, at('models', 'tiny'), { recursive: true });
});
afterEach(() => fs.rmSync(root, { recursive: true, force: true }));

async function someExits(out = at('work', 'my.exits')): Promise<string> {
  fs.mkdirSync(path.dirname(out), { recursive: true });
  const options = parseOptions('import', { model: at('models', 'tiny'), layers: '1', out });
  for await (const event of importExits(options, never)) expect(event.type).not.toBe('warning');
  return out;
}
const places = () => ({ home: at('home'), platform: process.platform, environment: {}, own: at('cache') });

test('exits hold no absolute path, and open with those that hold', async () => {
  const exits = await someExits();
  for (const name of ['exits.json', 'README.md'])
    expect(fs.readFileSync(path.join(exits, name), 'utf8')).not.toContain(root);
  expect(JSON.parse(fs.readFileSync(path.join(exits, 'exits.json'), 'utf8'))).toMatchObject({
    tuning: { model: '../../models/tiny' },
  });
  expect(readInfo(exits).tuning).toEqual({ model: at('models', 'tiny') });
  expect(await modelOfExits(exits, never, places())).toBe(at('models', 'tiny'));
});

test('a model of the hub has the name of its repository, not of the commit after which its folder is called', async () => {
  const commit = 'a1'.repeat(20);
  for (const place of [`models--owner--tiny/snapshots/${commit}`, `owner--tiny/${commit}`]) {
    fs.cpSync(tiny, at('hub', place), { recursive: true });
    const options = parseOptions('import', { model: at('hub', place), layers: '1', out: at(`${place.length}.exits`) });
    for await (const event of importExits(options, never)) expect(event.type).not.toBe('warning');
    expect(readInfo(options.out!).base.name).toBe('tiny');
    expect(defaultDirectory(options.model)).toBe('tiny.exits');
  }
});

test('options of a run are written relative to its folder and read back as they were', () => {
  const run = {
    model: path.resolve('models/typescript-5m'),
    data: ['/w/p/src/**/*.ts', '!/w/p/src/x.ts', '!**/y', '/w/p/e', '/w/p/e/.x'],
    continuePretraining: '/w/old.exits',
    seed: 1,
  };
  const written = writtenTuning('/w/p/e', run);
  expect(written).toEqual({
    model: 'typescript-5m',
    data: ['../src/**/*.ts', '!../src/x.ts', '!**/y', './', './.x'],
    continuePretraining: '../../old.exits',
    seed: 1,
  });
  expect(readTuning('/w/p/e', written)).toEqual(run);
  const older = { model: '/m.gguf', data: ['/a/**'] };
  expect(readTuning('/w/p/e', older)).toEqual(older);
});

test('a folder before a wildcard is no glob: signs in its name are escaped, also where the exits are moved to', () => {
  const run = { data: ['/w/(old)/src/**/*.ts', '/w/\\(old\\)/{a,b}/*.ts', '!/**/x', '/w/(old)/y.ts'] };
  const written = writtenTuning('/w/(old)/p/e', run);
  expect(written).toEqual({
    data: ['../../../(old)/src/**/*.ts', '../../{a,b}/*.ts', '!../../../../**/x', '../../../(old)/y.ts'],
  });
  expect(readTuning('/[new]/p/e', { data: ['../../{a,b}/*.ts'] })).toEqual({ data: ['/\\[new\\]/{a,b}/*.ts'] });
});

test('a model that was moved is found beside the exits, among those used last, or not at all', async () => {
  const exits = await someExits();
  fs.renameSync(at('models', 'tiny'), at('work', 'tiny'));
  expect(await modelOfExits(exits, never, places())).toBe(at('work', 'tiny'));
  fs.mkdirSync(at('elsewhere'));
  fs.renameSync(at('work', 'tiny'), at('elsewhere', 'tiny'));
  await expect(modelOfExits(exits, never, places())).rejects.toThrow(
    /^The exits in .*my\.exits belong to tiny \(SHA-256 [0-9a-f]{12}…\), which is in none of the folders of models/,
  );
  rememberUsed({ model: at('elsewhere', 'tiny'), exits: null }, at('work'));
  expect(await modelOfExits(exits, never, places())).toBe(at('elsewhere', 'tiny'));
});

test('a model of the same name with other weights is not the model of the exits', async () => {
  const exits = await someExits();
  fs.rmSync(at('models', 'tiny'), { recursive: true });
  fs.cpSync(path.resolve('test/fixtures/golden/tiny/qwen2'), at('models', 'tiny'), { recursive: true });
  await expect(modelOfExits(exits, never, places())).rejects.toThrow(/in none of the folders of models/);
});

test('a folder remembers what it used last, as long as that is there', async () => {
  const exits = await someExits();
  expect(lastUsed(at('work'))).toBeNull();
  rememberUsed({ model: at('models', 'tiny'), exits }, at('work'));
  expect(lastUsed(at('work'))).toEqual({ model: at('models', 'tiny'), exits });
  expect(lastUsed(root)).toBeNull();
  const [file] = fs.readdirSync(at('cache', 'folders'));
  fs.writeFileSync(at('cache', 'folders', file!), '{"model": 3');
  expect(lastUsed(at('work')), 'a file that is broken off').toBeNull();
  rememberUsed({ model: at('models', 'tiny'), exits }, at('work'));
  fs.rmSync(exits, { recursive: true });
  expect(lastUsed(at('work')), 'exits that are gone').toBeNull();
});
