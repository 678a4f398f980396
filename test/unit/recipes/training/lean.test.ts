/** Exits that are finished and calibrated weigh no more than they must, and a run goes on from them all the same. */
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { openCheckpoint, saveCalibration } from '../../../../backend/checkpoint/checkpoint.ts';
import { resumeCheckpoint } from '../../../../backend/checkpoint/writer.ts';
import { importExits } from '../../../../backend/recipes/import.ts';
import { keepLean, requireState } from '../../../../backend/recipes/training/lean.ts';
import { parseOptions } from '../../../../protocol/options/options.ts';

const never = new AbortController().signal;
let root: string;
let exits: string;
const inState = (): string[] => fs.readdirSync(path.join(exits, 'state')).sort();

beforeEach(async () => {
  root = fs.mkdtempSync(path.join(os.tmpdir(), 'lean-'));
  process.env['EARLY_EXIT_CACHE'] = path.join(root, 'cache');
  exits = path.join(root, 'my.exits');
  const options = parseOptions('import', { model: 'test/fixtures/golden/tiny/llama-untied', layers: '1', out: exits });
  for await (const event of importExits(options, never)) expect(event.type).not.toBe('warning');
});
afterEach(() => fs.rmSync(root, { recursive: true, force: true }));

const calibrate = (): void => {
  const { step } = openOnce().progress;
  const promise = { measure: 'agreement', limit: 0.99 } as const;
  saveCalibration(exits, {
    step,
    promise,
    brought: null,
    fastest: 'full',
    deferred: 'exact',
    thresholds: {},
    gates: {},
  });
};
function openOnce() {
  const opened = openCheckpoint(exits, null);
  opened.close();
  return opened;
}

test('the state goes once the run is finished and calibrated, and that is said', () => {
  expect([...keepLean(exits, false)], 'not calibrated').toEqual([]);
  calibrate();
  expect([...keepLean(exits, true)], 'wanted').toEqual([]);
  expect(inState()).toHaveLength(2);
  const [note, ...more] = [...keepLean(exits, false)];
  expect(note!.message).toMatch(/^The optimiser's state \(.*B\) was deleted, .*--resume still continues/);
  expect(more).toEqual([]);
  expect(inState()).toEqual(['state.json']);
  expect([...keepLean(exits, false)], 'once').toEqual([]);
  expect(() => requireState(exits)).toThrow(/was deleted/);
});

test('a resume goes on from the exits, with moments of no update, and writes a state again', () => {
  calibrate();
  const opened = openOnce();
  const before = new Map([...opened.shapes.keys()].map((name) => [name, 0]));
  expect([...keepLean(exits, false)]).toHaveLength(1);
  const { state, position, writer } = resumeCheckpoint(exits, opened, opened.shapes, opened.progress);
  expect(position.finished).toBe(true);
  expect(state.updates).toBe(0);
  expect([...state.parameters.keys()]).toEqual([...before.keys()]);
  for (const [name, values] of state.firstMoments) {
    expect(values).toHaveLength(state.parameters.get(name)!.length);
    expect(values.some((value) => value !== 0)).toBe(false);
  }
  writer.saveState(state, position);
  writer.close();
  expect(inState()).toHaveLength(2);
  expect(() => requireState(exits)).not.toThrow();
});

test('a kill between naming no state and removing it leaves what the next writer removes', () => {
  calibrate();
  const [file] = inState().filter((name) => name.endsWith('.safetensors'));
  const copy = fs.readFileSync(path.join(exits, 'state', file!));
  expect([...keepLean(exits, false)]).toHaveLength(1);
  fs.writeFileSync(path.join(exits, 'state', file!), copy);
  const opened = openOnce();
  resumeCheckpoint(exits, opened, opened.shapes, opened.progress).writer.close();
  expect(inState()).toEqual(['state.json']);
});
