import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { UserError } from '../../../protocol/errors.ts';
import type { ExitSpec } from '../../../backend/exits/spec.ts';
import { hashWeights } from '../../../backend/checkpoint/hash.ts';
import type { TrainingPosition } from '../../../backend/checkpoint/state.ts';
import { createCheckpoint, resumeCheckpoint, type NewCheckpoint } from '../../../backend/checkpoint/writer.ts';
import { reserveFolder } from '../../../backend/checkpoint/reserved-folder.ts';
import { baseModel, openCheckpoint, readInfo, type StepState } from '../../../backend/checkpoint/checkpoint.ts';
import { tinySpec } from '../tuning/fakes.ts';

let root: string;
beforeEach(() => (root = fs.mkdtempSync(path.join(os.tmpdir(), 'checkpoint-'))));
afterEach(() => {
  fs.chmodSync(root, 0o700);
  fs.rmSync(root, { recursive: true, force: true });
});

const withFields = (fields: Partial<UserError>): Error => expect.objectContaining(fields) as Error;
const base = baseModel('tiny', tinySpec, 'a'.repeat(64));
const exits: ExitSpec[] = [
  { layer: 1, architecture: 'norm', head: { kind: 'shortlist', tokens: [7, 0, 3] } },
  { layer: 3, architecture: 'lens', head: { kind: 'shared' } },
];
const shapes = new Map([
  ['exits.1.norm.norm.weight', [4]],
  ['exits.1.norm.head.weight', [4, 4]],
  ['exits.3.lens.translator.weight', [4, 4]],
]);
const values = (seed: number): Map<string, Float32Array> =>
  new Map(
    [...shapes].map(([name, shape], i) => [
      name,
      Float32Array.from({ length: shape.reduce((a, b) => a * b) }, (_, j) => seed + i + j / 7),
    ]),
  );
const state = (seed: number, updates = seed): StepState => ({
  updates,
  parameters: values(seed),
  firstMoments: values(seed + 100),
  secondMoments: values(seed + 200),
});
const position = (step: number): TrainingPosition => ({
  step,
  windows: 4 * step,
  tokens: 100 * step,
  seconds: 1.5 * step,
  best: step === 0 ? null : 2.5,
  before: [],
  data: 'hash',
  finished: false,
});
const scores = [
  { exit: '1:norm', layer: 1, loss: 3, perplexity: Math.exp(3), accuracy: 0.25, agreement: 0.5 },
  { exit: 'final', layer: 4, loss: 2, perplexity: Math.exp(2), accuracy: 0.5, agreement: 1 },
];
const start: NewCheckpoint = {
  info: { base, exits, tuning: { model: 'tiny', steps: 3 }, calibration: null },
  shapes,
  state: state(0),
  progress: { step: 0, tokens: 0, scores: [] },
  position: position(0),
  metrics: [{ step: 0 }],
};
const at = (...parts: string[]): string => path.join(root, 'my.exits', ...parts);
const resume = () => resumeCheckpoint(at(), start.info, shapes, start.progress);

describe('createCheckpoint', () => {
  it('writes what openCheckpoint reads', () => {
    createCheckpoint(at(), { ...start, progress: { step: 0, tokens: 0, scores } }).close();
    const opened = openCheckpoint(at(), base);
    expect(opened.exits).toEqual(exits);
    expect(opened.base).toEqual(base);
    expect(opened.progress).toEqual({ step: 0, tokens: 0, scores });
    expect(opened.tuning).toEqual({ model: 'tiny', steps: 3 });
    expect(opened.shapes).toEqual(shapes);
    for (const [name, expected] of values(0)) expect(opened.values(name)).toEqual(expected);
    opened.close();
    expect(fs.readdirSync(at()).sort()).toEqual([
      'README.md',
      'exits.json',
      'exits.safetensors',
      'metrics.jsonl',
      'state',
    ]);
    expect(fs.readdirSync(root)).toEqual(['my.exits']);
    expect(fs.readFileSync(at('README.md'), 'utf8')).toContain(
      '| 1:norm | 1 | own, 3 tokens | update 0 | 3.000 | 20.1 | 25.0 % | 50.0 % |',
    );
  });

  it('refuses a folder with something in it and leaves it as it was', () => {
    createCheckpoint(at(), start).close();
    expect(() => createCheckpoint(at(), start)).toThrow(/already holds tuned exits/);
    fs.mkdirSync(path.join(root, 'other'));
    fs.writeFileSync(path.join(root, 'other', 'thesis.txt'), 'x');
    expect(() => createCheckpoint(path.join(root, 'other'), start)).toThrow(/is not empty/);
    expect(fs.readdirSync(path.join(root, 'other'))).toEqual(['thesis.txt']);
  });

  it.skipIf(process.getuid?.() === 0)('says so where the folder is read-only', () => {
    fs.chmodSync(root, 0o500);
    expect(() => createCheckpoint(at(), start)).toThrow(withFields({ code: 'file-system' }));
    expect(fs.readdirSync(root)).toEqual([]);
  });

  it('says so where a part of the path is a file', () => {
    fs.writeFileSync(path.join(root, 'file'), '');
    expect(() => createCheckpoint(path.join(root, 'file', 'x.exits'), start)).toThrow(/file/);
    expect(fs.readdirSync(root)).toEqual(['file']);
  });

  it.skipIf(process.platform === 'win32')('leaves nothing where the disk fills up', () => {
    // A limit on file size (ulimit -f) acts like a full disk: a write fails half-way.
    const script = `
      process.on('SIGXFSZ', () => {});
      const { createCheckpoint } = await import(${JSON.stringify(path.resolve('backend/checkpoint/writer.ts'))});
      const { info, progress, position, metrics } = JSON.parse(process.env.START);
      const big = new Map([['exits.3.lens.translator.weight', new Float32Array(100_000)]]);
      const shapes = new Map([['exits.3.lens.translator.weight', [100_000]]]);
      const state = { updates: 0, parameters: big, firstMoments: big, secondMoments: big };
      try {
        createCheckpoint(${JSON.stringify(at())}, { info, shapes, state, progress, position, metrics });
        console.log('written');
      } catch (error) {
        console.log(error.name, error.message);
      }`;
    const out = execFileSync('bash', ['-c', 'ulimit -f 200; exec node --import tsx --input-type=module -e "$SCRIPT"'], {
      env: { ...process.env, SCRIPT: script, START: JSON.stringify({ ...start, state: null }), TSX_DISABLE_CACHE: '1' },
      encoding: 'utf8',
    });
    expect(out).toMatch(/^UserError Cannot write .*: /);
    expect(fs.readdirSync(root)).toEqual([]);
  });
});

describe('resumeCheckpoint', () => {
  it('gives back the state and the position, and cuts the metrics back to them', () => {
    const writer = createCheckpoint(at(), start);
    writer.metric({ step: 1 });
    writer.saveState(state(5), position(1));
    writer.metric({ step: 2 });
    writer.close(); // as a kill would: the metrics are ahead of the state
    const resumed = resume();
    expect(resumed.position).toEqual(position(1));
    expect(resumed.state).toEqual(state(5));
    expect(fs.readFileSync(at('metrics.jsonl'), 'utf8')).toBe('{"step":0}\n{"step":1}\n');
    resumed.writer.metric({ step: 3 });
    resumed.writer.close();
    expect(fs.readFileSync(at('metrics.jsonl'), 'utf8')).toBe('{"step":0}\n{"step":1}\n{"step":3}\n');
  });

  it('keeps one state only, and ignores one that was never named', () => {
    const writer = createCheckpoint(at(), start);
    writer.saveState(state(5), position(1));
    writer.saveState(state(6), position(2));
    writer.close();
    expect(fs.readdirSync(at('state')).filter((name) => name !== 'state.json')).toHaveLength(1);
    fs.writeFileSync(at('state', 'step-9-x.safetensors'), 'half of it');
    fs.writeFileSync(at('.exits.safetensors.123.tmp'), 'half of it');
    const resumed = resume();
    expect(resumed.state).toEqual(state(6));
    resumed.writer.close();
    expect(fs.readdirSync(at('state'))).toHaveLength(2);
    expect(fs.existsSync(at('.exits.safetensors.123.tmp'))).toBe(false);
  });

  it('takes over from a killed process, but not from a living one', () => {
    createCheckpoint(at(), start).close();
    const dead = Number(execFileSync('node', ['-p', 'process.pid'], { encoding: 'utf8' }));
    const token = '0123456789abcdef';
    fs.writeFileSync(at('.lock'), JSON.stringify({ pid: dead, thread: null, started: null, token }));
    resume().writer.close();
    fs.writeFileSync(at('.lock'), JSON.stringify({ pid: process.ppid, thread: null, started: null, token }));
    expect(resume).toThrow(withFields({ code: 'busy', wayOut: expect.stringContaining(at('.lock')) as string }));
  });

  it('names a damaged state', () => {
    createCheckpoint(at(), start).close();
    const [file] = fs.readdirSync(at('state')).filter((name) => name !== 'state.json');
    fs.truncateSync(at('state', file!), 100);
    expect(resume).toThrow(withFields({ name: 'UserError' }));
    fs.writeFileSync(at('state', 'state.json'), '{"file":"../../x"}');
    expect(resume).toThrow(/not what this version writes/);
    fs.rmSync(at('state'), { recursive: true });
    expect(resume).toThrow(/cannot go on without/);
  });
});

describe('reserveFolder', () => {
  it('is given back in silence if the folder was removed', () => {
    const directory = path.join(root, 'taken.exits');
    const place = reserveFolder(directory);
    fs.rmSync(directory, { recursive: true });
    place.abandon();
    expect(fs.existsSync(directory)).toBe(false);
  });

  it('keeps a folder for one run from before there is anything in it', () => {
    const place = reserveFolder(at());
    expect(() => reserveFolder(at())).toThrow(withFields({ code: 'busy' }));
    expect(() => createCheckpoint(at(), start)).toThrow(withFields({ code: 'busy' }));
    createCheckpoint(at(), start, place).close();
    place.abandon();
    expect(openCheckpoint(at(), base).exits).toHaveLength(2);
    expect(fs.readdirSync(at()).filter((name) => name.startsWith('.'))).toEqual([]);
  });

  it('never touches the live checkpoint of another run', () => {
    const writer = createCheckpoint(at(), start);
    const before = fs.readdirSync(at()).sort();
    expect(() => createCheckpoint(at(), start)).toThrow(/already holds tuned exits/);
    expect(() => reserveFolder(at())).toThrow(/already holds tuned exits/);
    expect(fs.readdirSync(at()).sort()).toEqual(before);
    writer.saveState(state(6), position(2));
    writer.close();
  });

  it('gives back what it made, and no more', () => {
    reserveFolder(at()).abandon();
    expect(fs.readdirSync(root)).toEqual([]);
    fs.mkdirSync(at());
    reserveFolder(at()).abandon();
    expect(fs.readdirSync(at())).toEqual([]);
    const place = reserveFolder(at());
    fs.writeFileSync(at('thesis.txt'), 'x');
    place.abandon();
    expect(fs.readdirSync(at())).toEqual(['thesis.txt']);
  });

  it('takes over what a killed run began, and nothing else', () => {
    const dead = Number(execFileSync('node', ['-p', 'process.pid'], { encoding: 'utf8' }));
    const left = JSON.stringify({ pid: dead, thread: null, started: null, token: '0123456789abcdef' });
    const begin = (): void => {
      fs.mkdirSync(at('state'), { recursive: true });
      fs.writeFileSync(at('state', 'step-0.safetensors'), 'half');
      fs.writeFileSync(at('metrics.jsonl'), '{}');
      fs.writeFileSync(at('.exits.safetensors.1.tmp'), 'half');
    };
    begin();
    expect(() => reserveFolder(at())).toThrow(/is not empty/);
    fs.writeFileSync(at('.lock'), left);
    createCheckpoint(at(), start).close();
    expect(openCheckpoint(at(), base).exits).toHaveLength(2);
    fs.rmSync(at(), { recursive: true });
    begin();
    fs.writeFileSync(at('.lock'), left);
    fs.writeFileSync(at('thesis.txt'), 'x');
    expect(() => reserveFolder(at())).toThrow(/is not empty/);
    expect(fs.readdirSync(at()).sort()).toContain('metrics.jsonl');
  });

  it('takes over what a job of PyTorch began, and no other folder of that name', () => {
    fs.mkdirSync(at('distributed'), { recursive: true });
    fs.writeFileSync(at('distributed', 'notes.txt'), 'x');
    expect(() => reserveFolder(at())).toThrow(/is not empty/);
    expect(fs.existsSync(at('distributed', 'notes.txt'))).toBe(true);
    // A job that failed in its first checkpoint.
    fs.writeFileSync(at('distributed', 'job.json'), '{}');
    fs.mkdirSync(at('state'));
    fs.writeFileSync(at('metrics.jsonl'), '{}');
    reserveFolder(at()).abandon();
    expect(fs.readdirSync(at())).toEqual([]);
  });

  it.skipIf(process.platform !== 'linux')('says so where no folder can be made', () => {
    expect(() => reserveFolder('/proc/none/my.exits')).toThrow(withFields({ name: 'UserError' }));
  });
});

const brought = {
  speedup: { value: 1.2, error: 0.01 },
  agreement: { value: 0.99, error: 0.001 },
  regret: { value: 0.003, error: 0.0005 },
  machine: 'a processor, 2 cores',
  busy: 0.1,
};

describe('saveExits', () => {
  it('replaces the parameters, the progress and the card, and calibration of other values no longer holds', () => {
    const calibration = {
      step: 0,
      promise: { measure: 'regret' as const, limit: 0.01 },
      brought,
      fastest: 'fast' as const,
      deferred: 'exact' as const,
      thresholds: { '1:norm': 0.9 },
      gates: { '1:norm': { weights: 'AACAPwAAAEA=', bias: -1, least: 0.2 } },
    };
    const writer = createCheckpoint(at(), { ...start, info: { ...start.info, calibration } });
    let opened = openCheckpoint(at(), base);
    expect(opened.calibration).toEqual(calibration);
    opened.close();
    writer.saveExits(values(9), { step: 7, tokens: 700, scores });
    writer.close();
    opened = openCheckpoint(at(), null);
    expect(opened.progress.step).toBe(7);
    expect(opened.calibration).toBeNull();
    // Nor is it listed.
    expect(readInfo(at()).calibration).toBeNull();
    expect(opened.values('exits.3.lens.translator.weight')).toEqual(values(9).get('exits.3.lens.translator.weight'));
    opened.close();
  });
});

it('an infinite loss, which JSON has not, is read as no number, and the card is written with it', () => {
  const [first, last] = scores;
  const infinite = [{ ...first!, loss: 800, perplexity: Infinity }, last!];
  createCheckpoint(at(), { ...start, progress: { step: 0, tokens: 0, scores: infinite } }).close();
  const opened = openCheckpoint(at(), base);
  const { progress } = opened;
  opened.close();
  expect(progress.scores[0]).toEqual({ ...first, loss: 800, perplexity: NaN });
  const { writer } = resume();
  writer.saveExits(values(9), { step: 1, tokens: 10, scores: progress.scores });
  writer.close();
  expect(fs.readFileSync(at('README.md'), 'utf8')).toContain('| NaN |');
});

it('a calibration from before the fastest mode was stored is for the mode that changes no text', () => {
  createCheckpoint(at(), start).close();
  const json = JSON.parse(fs.readFileSync(at('exits.json'), 'utf8')) as Record<string, unknown>;
  json['calibration'] = { step: 0, agreement: 0.99, thresholds: { '1:norm': 0.9 }, gates: {} };
  fs.writeFileSync(at('exits.json'), JSON.stringify(json));
  const opened = openCheckpoint(at(), base);
  opened.close();
  expect(opened.calibration).toMatchObject({
    promise: { measure: 'agreement', limit: 0.99 },
    brought: null,
    fastest: 'lossless',
    deferred: 'exact',
    thresholds: { '1:norm': 0.9 },
  });
});

describe('openCheckpoint', () => {
  const edit = (change: (json: Record<string, never>) => void): void => {
    const json = JSON.parse(fs.readFileSync(at('exits.json'), 'utf8')) as Record<string, never>;
    change(json);
    fs.writeFileSync(at('exits.json'), JSON.stringify(json));
  };

  const gate = { weights: Buffer.from(new Float32Array(4).buffer).toString('base64'), bias: 0, least: 0.5 };
  const calibration = {
    step: 0,
    promise: { measure: 'agreement', limit: 0.9 },
    brought: null,
    fastest: 'fast',
    deferred: 'exact',
    thresholds: { '1:norm': 0.5 },
    gates: {},
  };
  const withGate = (change: object): object => ({ ...calibration, gates: { '1:norm': { ...gate, ...change } } });

  it('reads whether a calibration was made on chats', () => {
    createCheckpoint(at(), start).close();
    edit((json) => Object.assign(json, { calibration: { ...calibration, learnedAnswers: true } }));
    const opened = openCheckpoint(at(), base);
    expect(opened.calibration).toEqual({ ...calibration, learnedAnswers: true });
    opened.close();
  });

  it('reads how hints of the text change how sure exits are', () => {
    createCheckpoint(at(), start).close();
    const hints = { '1:norm': { agrees: 1, agreesClearly: 2, contradicts: -1, contradictsClearly: -2 } };
    edit((json) => Object.assign(json, { calibration: { ...calibration, hints } }));
    const opened = openCheckpoint(at(), base);
    expect(opened.calibration).toEqual({ ...calibration, hints });
    opened.close();
  });

  it('reads when tokens leave with a hint', () => {
    createCheckpoint(at(), start).close();
    const weights = { always: 1, trust: 2, matched: 0.5, votes: 0 };
    const trust = { '1:norm': { direction: 'AACAPwAAgD8=', weights, least: 0.9 } };
    edit((json) => Object.assign(json, { calibration: { ...calibration, trust } }));
    const opened = openCheckpoint(at(), base);
    expect(opened.calibration).toEqual({ ...calibration, trust });
    opened.close();
  });

  it('reads a calibration with its gates', () => {
    createCheckpoint(at(), start).close();
    edit((json) => Object.assign(json, { calibration: withGate({}) }));
    const opened = openCheckpoint(at(), base);
    expect(opened.calibration).toEqual(withGate({}));
    opened.close();
  });

  it('says that it wants the folder where the file is named', () => {
    createCheckpoint(at(), start).close();
    expect(() => openCheckpoint(at('exits.json'), base)).toThrow(
      withFields({
        code: 'not-found',
        message: `${at('exits.json')} is a file, not a folder of exits.`,
        wayOut: `Name the folder that tune wrote: ${at()}.`,
      }),
    );
  });

  it('refuses another base model by name and hash', () => {
    createCheckpoint(at(), start).close();
    const other = { ...base, name: 'other', sha256: 'b'.repeat(64) };
    expect(() => openCheckpoint(at(), other)).toThrow(/tiny .*aaaaaaaaaaaa.*other .*bbbbbbbbbbbb/);
    expect(() => openCheckpoint(at(), other)).toThrow(withFields({ code: 'wrong-base-model' }));
  });

  it.each<[string, (json: Record<string, unknown>) => void]>([
    ['a newer format', (json) => (json['version'] = 2)],
    ['no exits', (json) => (json['exits'] = [])],
    ['an exit beyond the model', (json) => ((json['exits'] as { layer: number }[])[0]!.layer = 99)],
    ['an unknown architecture', (json) => ((json['exits'] as { architecture: string }[])[0]!.architecture = 'attic')],
    ['a base without a hash', (json) => ((json['base'] as { sha256: string }).sha256 = 'x')],
    ['parameters of an exit it does not list', (json) => (json['exits'] as unknown[]).pop()],
    ['an exit twice', (json) => (json['exits'] as unknown[]).push((json['exits'] as unknown[])[0])],
    ['a threshold below 0', (json) => (json['calibration'] = { ...calibration, thresholds: { '1:norm': -5 } })],
    ['a threshold above 1', (json) => (json['calibration'] = { ...calibration, thresholds: { '1:norm': 1.5 } })],
    ['an agreement above 1', (json) => (json['calibration'] = { ...calibration, promise: undefined, agreement: 2 })],
    [
      'a regret above 1',
      (json) => (json['calibration'] = { ...calibration, promise: { measure: 'regret', limit: 2 } }),
    ],
    [
      'a figure that is none',
      (json) => (json['calibration'] = { ...calibration, brought: { ...brought, speedup: { value: 'fast' } } }),
    ],
    ['an answer that is neither', (json) => (json['calibration'] = { ...calibration, learnedAnswers: 1 })],
    ['half a hint', (json) => (json['calibration'] = { ...calibration, hints: { '1:norm': { agrees: 1 } } })],
    ['half a trust', (json) => (json['calibration'] = { ...calibration, trust: { '1:norm': { least: 0.9 } } })],
    ['a gate of 7 bytes', (json) => (json['calibration'] = withGate({ weights: 'AAAAAAAAAA==' }))],
    ['a gate of no bytes', (json) => (json['calibration'] = withGate({ weights: '' }))],
    ['a gate that is not finite', (json) => (json['calibration'] = withGate({ weights: 'AADAfw==' }))],
    ['a gate without a bias', (json) => (json['calibration'] = withGate({ bias: null }))],
    ['a gate that never opens', (json) => (json['calibration'] = withGate({ least: 7 }))],
    ['a mode that is none', (json) => (json['calibration'] = { ...calibration, fastest: 'auto' })],
    ['something else', (json) => delete json['format']],
  ])('names the file that has %s', (_, change) => {
    createCheckpoint(at(), start).close();
    edit(change);
    expect(() => openCheckpoint(at(), base)).toThrow(withFields({ code: 'bad-checkpoint' }));
    expect(() => openCheckpoint(at(), base)).toThrow(/my\.exits/);
  });

  it('names a folder without exits, files that are no JSON or damaged, and values that are not finite', () => {
    expect(() => openCheckpoint(root, base)).toThrow(withFields({ code: 'not-found' }));
    createCheckpoint(at(), { ...start, state: { ...state(0), parameters: values(NaN) } }).close();
    const opened = openCheckpoint(at(), base);
    expect(() => opened.values('exits.1.norm.norm.weight')).toThrow(/not finite/);
    opened.close();
    fs.truncateSync(at('exits.safetensors'), 50);
    expect(() => openCheckpoint(at(), base)).toThrow(withFields({ name: 'UserError' }));
    fs.writeFileSync(at('exits.json'), 'PK\x03\x04');
    expect(() => openCheckpoint(at(), base)).toThrow(/not JSON/);
  });
});

describe('hashWeights', () => {
  const sha = (text: string): string => createHash('sha256').update(text).digest('hex');
  const file = (name: string, text: string): string => {
    fs.writeFileSync(path.join(root, name), text);
    return path.join(root, name);
  };

  it('is the SHA-256 of one file, and of the sha256sum lines of several in order of name', async () => {
    const one = file('b.safetensors', 'bb');
    const two = file('a.safetensors', 'aa');
    expect(await hashWeights([one], { cache: null })).toBe(sha('bb'));
    const lines = `${sha('aa')}  a.safetensors\n${sha('bb')}  b.safetensors\n`;
    expect(await hashWeights([one, two], { cache: null })).toBe(sha(lines));
    expect(await hashWeights([two, one], { cache: null })).toBe(sha(lines));
  });

  it('remembers a file until it changes', async () => {
    const cache = path.join(root, 'cache');
    const weights = file('w.gguf', 'old');
    let read = 0;
    const onProgress = (): void => void read++;
    expect(await hashWeights([weights], { cache, onProgress })).toBe(sha('old'));
    expect(await hashWeights([weights], { cache, onProgress })).toBe(sha('old'));
    expect(read).toBe(1);
    file('w.gguf', 'newer');
    expect(await hashWeights([weights], { cache })).toBe(sha('newer'));
  });

  it('stops when asked and names a file that is gone', async () => {
    const weights = file('w.gguf', 'x');
    await expect(hashWeights([weights], { cache: null, signal: AbortSignal.abort('stop') })).rejects.toBe('stop');
    await expect(hashWeights([path.join(root, 'gone')], { cache: null })).rejects.toMatchObject({ code: 'not-found' });
  });
});
