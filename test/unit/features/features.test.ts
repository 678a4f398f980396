import { spawn } from 'node:child_process';
import { once } from 'node:events';
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { decodeHalf, encodeHalf } from '../../../backend/features/cache-half.ts';
import { openFeatureCache } from '../../../backend/features/cache.ts';
import { featureSource, normState } from '../../../backend/features/features.ts';
import { fakeModel, fakeWindows, tinySpec } from '../tuning/fakes.ts';

let root: string;
beforeEach(() => (root = fs.mkdtempSync(path.join(os.tmpdir(), 'features-'))));
afterEach(() => fs.rmSync(root, { recursive: true, force: true }));

/** Opens the cache of KEY under ROOT, says so, and waits. */
const holding = `
  import { openFeatureCache } from '${path.resolve(import.meta.dirname, '../../../backend/features/cache.ts')}';
  openFeatureCache({ root: process.env.ROOT, key: JSON.parse(process.env.KEY), limit: 1e6 });
  console.log('open');
  process.stdin.resume();`;

const key = { backbone: 'b', data: 'd', tokens: 4 };
const cuts = [
  { layer: 1, at: 'attention' },
  { layer: 2, at: 'end' },
] as const;

describe('half precision', () => {
  const roundTrip = (values: number[]): number[] => {
    const halves = new Uint16Array(values.length);
    const undo = encodeHalf(Float32Array.from(values), halves);
    const back = new Float32Array(values.length);
    decodeHalf(halves, undo, back);
    return [...back];
  };

  it('keeps what a half can hold', () => {
    const exact = [0, 1, -2.5, 65504, -65504, 2 ** -14, 2 ** -24, 1023 * 2 ** -24, 0.333251953125];
    expect(roundTrip(exact)).toEqual(exact);
  });

  it('rounds to the nearest, ties to even', () => {
    expect(roundTrip([1 + 2 ** -11, 1 + 3 * 2 ** -11, 2 ** -25, 3 * 2 ** -25, 2047.9999])).toEqual([
      1,
      1 + 2 ** -9,
      0,
      2 ** -23,
      2048,
    ]);
  });

  it('brings huge activations into range and back', () => {
    expect(roundTrip([2 ** 20, 3])).toEqual([2 ** 20, 3]);
    for (const value of [70_000.123, 3e38, -65519, -65520]) {
      const [back] = roundTrip([value]);
      expect(Math.abs(back! / value - 1)).toBeLessThan(2 ** -11);
    }
  });
});

describe('featureSource', () => {
  it('gives the states of the windows asked for, in their order', async () => {
    const model = fakeModel(cuts);
    const source = featureSource({ model, windows: fakeWindows(6, 4), cache: null });
    const batch = await source.batch([3, 1]);
    const direct = await model.features(
      Int32Array.from([...fakeWindows(6, 4).window(3).ids, ...fakeWindows(6, 4).window(1).ids]),
      2,
      4,
    );
    expect([...batch.features.keys()]).toEqual(['1.attention', '2.end']);
    expect(batch.features.get('1.attention')).toEqual(direct[0]);
    expect(batch.features.get('2.end')).toEqual(direct[1]);
    expect([...batch.targets]).toEqual([
      ...fakeWindows(6, 4).window(3).targets,
      ...fakeWindows(6, 4).window(1).targets,
    ]);
    expect(batch.final).toBeNull();
  });

  it('carries the normed final state where it has the norm', async () => {
    const weight = Float32Array.from([1, 2, 3, 4]);
    const model = fakeModel([{ layer: tinySpec.layers.length, at: 'end' }]);
    const source = featureSource({ model, windows: fakeWindows(6, 4), cache: null, finalNorm: { weight, bias: null } });
    const { final, features } = await source.batch([0]);
    const x = features.get(`${tinySpec.layers.length}.end`)!;
    const rms = Math.sqrt([...x.subarray(0, 4)].reduce((sum, value) => sum + value * value, 0) / 4 + 1e-5);
    for (let i = 0; i < 4; i++) expect(final![i]).toBeCloseTo((x[i]! / rms) * weight[i]!, 5);
  });

  it('refuses states that are not finite', async () => {
    const model = { ...fakeModel(cuts), features: async () => [new Float32Array(16), new Float32Array(16).fill(NaN)] };
    const source = featureSource({ model, windows: fakeWindows(6, 4), cache: null });
    await expect(source.batch([0])).rejects.toMatchObject({ code: 'bad-weights' });
  });
});

describe('normState', () => {
  it('centres for a layer norm and adds the bias', () => {
    const spec = { ...tinySpec, norm: { kind: 'layer', epsilon: 0, unitOffset: 0 } } as const;
    const y = normState(
      spec,
      { weight: Float32Array.of(1, 1, 2, 1), bias: Float32Array.of(0, 0, 0, 5) },
      Float32Array.of(1, 3, 1, 3),
    );
    expect([...y]).toEqual([-1, 1, -2, 6]);
  });
});

describe('the feature cache', () => {
  const open = (limit?: number) => openFeatureCache({ root, key, ...(limit === undefined ? {} : { limit }) });
  const wide = 2 ** 34;

  it('spares the backbone the second time and gives the same numbers bit by bit', async () => {
    const model = fakeModel(cuts);
    const first = featureSource({ model, windows: fakeWindows(6, 4), cache: open(wide) });
    const a = await first.batch([0, 4]);
    expect(model.calls()).toBe(1);
    const b = await first.batch([4, 0]);
    expect(model.calls()).toBe(1);
    expect(b.features.get('2.end')!.subarray(16)).toEqual(a.features.get('2.end')!.subarray(0, 16));

    const later = featureSource({ model: fakeModel(cuts), windows: fakeWindows(6, 4), cache: open(wide) });
    const c = await later.batch([0, 4]);
    expect(later.computed()).toBe(0);
    expect(c.features).toEqual(a.features);
  });

  it('computes only the windows that are absent', async () => {
    const model = fakeModel(cuts);
    const source = featureSource({ model, windows: fakeWindows(6, 4), cache: open(wide) });
    await source.batch([0, 1]);
    await source.batch([1, 2]);
    expect(source.computed()).toBe(3);
  });

  it('shares cuts between runs that need different ones', async () => {
    const fit = featureSource({
      model: fakeModel([...cuts, { layer: 4, at: 'end' }]),
      windows: fakeWindows(6, 4),
      cache: open(wide),
    });
    await fit.batch([0, 1, 2]);
    const tune = featureSource({ model: fakeModel(cuts), windows: fakeWindows(6, 4), cache: open(wide) });
    await tune.batch([2, 0]);
    expect(tune.computed()).toBe(0);
  });

  it('keeps caches of another backbone or other data apart', async () => {
    const source = featureSource({ model: fakeModel(cuts), windows: fakeWindows(6, 4), cache: open(wide) });
    await source.batch([0]);
    for (const other of [
      { ...key, backbone: 'c' },
      { ...key, data: 'e' },
      { ...key, tokens: 5 },
    ]) {
      expect(openFeatureCache({ root, key: other, limit: wide }).has(0, '2.end')).toBe(false);
    }
  });

  it('does not trust a record whose bytes changed', async () => {
    const cache = open(wide);
    const a = await featureSource({ model: fakeModel(cuts), windows: fakeWindows(6, 4), cache }).batch([1]);
    const file = path.join(cache.directory, '2.end.bin');
    const bytes = fs.readFileSync(file);
    bytes[bytes.length - 3]! ^= 1;
    fs.writeFileSync(file, bytes);
    const source = featureSource({ model: fakeModel(cuts), windows: fakeWindows(6, 4), cache: open(wide) });
    const b = await source.batch([1]);
    expect(source.computed()).toBe(1);
    expect(b.features).toEqual(a.features);
    const again = featureSource({ model: fakeModel(cuts), windows: fakeWindows(6, 4), cache: open(wide) });
    await again.batch([1]);
    expect(again.computed()).toBe(0);
  });

  it('does not trust records that a killed writer did not list', async () => {
    const cache = open(wide);
    await featureSource({ model: fakeModel(cuts), windows: fakeWindows(6, 4), cache }).batch([1]);
    const log = path.join(cache.directory, 'index.log');
    fs.truncateSync(log, fs.statSync(log).size - 4);
    const reopened = open(wide);
    expect(reopened.has(1, '2.end')).toBe(false);
    reopened.write(new Map([[2, new Map([['2.end', new Float32Array(16)]])]]));
    expect(open(wide).has(2, '2.end')).toBe(true);
  });

  it('stops at its limit with a sentence, and goes on giving states', async () => {
    const source = featureSource({ model: fakeModel(cuts), windows: fakeWindows(6, 4), cache: open(100) });
    const cache = open(100);
    const bounded = featureSource({ model: fakeModel(cuts), windows: fakeWindows(6, 4), cache });
    const a = await bounded.batch([0, 1, 2, 3]);
    expect(cache.full()).toMatch(/no room left/);
    const b = await source.batch([0, 1, 2, 3]);
    expect(b.features).toEqual(a.features);
  });

  it('lets older caches go where room is needed', async () => {
    const old = openFeatureCache({ root, key: { ...key, data: 'old' }, limit: 1e6 });
    old.write(new Map([[0, new Map([['2.end', new Float32Array(300_000)]])]]));
    expect(old.full()).toBeNull();
    old.close();
    fs.utimesSync(old.directory, 1, 1);
    open(1e6);
    expect(fs.existsSync(old.directory)).toBe(false);
  });

  it('never lets a cache go that is open: a run reads its text and the held-out text side by side', () => {
    const text = openFeatureCache({ root, key: { ...key, data: 'open' }, limit: 1e6 });
    text.write(new Map([[0, new Map([['2.end', new Float32Array(300_000)]])]]));
    fs.utimesSync(text.directory, 1, 1);
    open(1e6);
    expect(text.read(0, '2.end', 75_000)).toHaveLength(300_000);
    expect(fs.existsSync(text.directory)).toBe(true);
  });

  it('is not removed under another process that has it open, and is once that is gone', async () => {
    const made = openFeatureCache({ root, key: { ...key, data: 'theirs' }, limit: 1e6 });
    made.write(new Map([[0, new Map([['2.end', new Float32Array(300_000)]])]]));
    made.close();
    const holder = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', holding], {
      env: { ...process.env, ROOT: root, KEY: JSON.stringify({ ...key, data: 'theirs' }) },
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    await once(holder.stdout, 'data');
    fs.utimesSync(made.directory, 1, 1);
    open(1e6).close();
    expect(fs.existsSync(made.directory)).toBe(true);
    const gone = once(holder, 'exit');
    holder.kill('SIGKILL');
    await gone;
    open(1e6).close();
    expect(fs.existsSync(made.directory)).toBe(false);
  });

  it('says that it was removed while it was open, and goes on giving states', async () => {
    const cache = open(wide);
    const source = featureSource({ model: fakeModel(cuts), windows: fakeWindows(6, 4), cache });
    const a = await source.batch([0]);
    fs.rmSync(cache.directory, { recursive: true });
    await source.batch([1]);
    expect(cache.full()).toBe(`Hidden states are no longer saved: ${cache.directory} was removed.`);
    expect((await source.batch([0])).features).toEqual(a.features);
    cache.close();
  });

  it('leaves no lock behind, and removes those of processes that were killed', () => {
    const cache = open(wide);
    const locks = (): string[] => fs.readdirSync(cache.directory).filter((name) => name.endsWith('.lock'));
    expect(locks()).toHaveLength(1);
    cache.close();
    fs.writeFileSync(path.join(cache.directory, 'dead.lock'), '{"pid":0}');
    open(wide).close();
    expect(locks()).toEqual([]);
  });

  it('works without a disk', async () => {
    const file = path.join(root, 'file');
    fs.writeFileSync(file, '');
    const cache = openFeatureCache({ root: file, key });
    expect(cache.full()).toMatch(/not saved/);
    const source = featureSource({ model: fakeModel(cuts), windows: fakeWindows(6, 4), cache });
    expect((await source.batch([0])).features.size).toBe(2);
  });
});
