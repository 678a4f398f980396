/** The next command is the one that helps with what was measured. */
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import {
  afterCalibration,
  afterStart,
  afterTuning,
  type Advice,
  type Naming,
} from '../../../../backend/cli/draw/advice.ts';
import { namingOf, shellWord } from '../../../../backend/cli/draw/naming.ts';
import { parseOptions } from '../../../../protocol/options/options.ts';
import type { CalibratedEvent, ExitScore } from '../../../../protocol/events.ts';

const naming: Naming = {
  command: 'early-exit',
  model: ' --model m.gguf',
  exits: ' --exits my.exits',
  data: " --data 'src/**'",
  prompt: " --prompt 'export function mean(values'",
  directory: 'my.exits',
};
const linesOf = ({ next }: Advice): string[] => next.map(([line]) => line);

const found = (different: Partial<CalibratedEvent>): CalibratedEvent => ({
  type: 'calibrated',
  tokens: 3072,
  promise: { measure: 'agreement', limit: 0.99 },
  certainty: 0.95,
  brought: null,
  exits: [
    { exit: '8:lens', layer: 8, threshold: null, milliseconds: 1, saves: 7, agreement: 0.2 },
    { exit: '11:lens', layer: 11, threshold: 0.8, milliseconds: 1, saves: 3, agreement: 0.8 },
  ],
  meanLayer: 11.5,
  layers: 12,
  fullDepth: 10,
  speedups: { exits: 1.1, fast: 1.9, lossless: 1.6 },
  texts: 6,
  fastest: 'fast',
  seconds: 40,
  ...different,
});
const exit = (agreement: number, milliseconds: number, saves: number, layer = 11) => ({
  exits: [{ exit: `${layer}:lens`, layer, threshold: null, milliseconds, saves, agreement }],
});
const slow = { fastest: 'lossless', speedups: { exits: 1, fast: 1.05, lossless: 1.05 } } as const;
const drafts = { fastest: 'lossless', speedups: { exits: 1, fast: 1.9, lossless: 1.9 } } as const;

describe('after a calibration', () => {
  test('where leaving pays, what it brings beside drafts, and the default that takes it', () => {
    const advice = afterCalibration(found({}), naming);
    expect(advice.reason).toBe(
      'Leaving early is faster here: 1.90 × full depth; drafts from earlier text alone (lossless) give 1.60 ×.',
    );
    expect(linesOf(advice)).toEqual([
      "early-exit generate --model m.gguf --exits my.exits --prompt 'export function mean(values'",
    ]);
  });

  test('where drafts alone are faster, both are named, and how to leave all the same', () => {
    const figure = (value: number) => ({ value, error: 0.01 });
    const brought = { speedup: figure(1.12), agreement: figure(0.99), regret: figure(0.002), machine: 'm', busy: 0 };
    const advice = afterCalibration(found({ ...slow, brought }), naming);
    expect(advice.reason).toMatch(
      /^Leaving early is 1\.12 × as fast as full depth by itself; .* so the default is lossless\.$/,
    );
    expect(linesOf(advice)[1]).toBe(
      "early-exit generate --model m.gguf --exits my.exits --mode fast --prompt 'export function mean(values'",
    );
  });

  test('where the time was too short, nothing is said of what leaving would bring', () => {
    const advice = afterCalibration(found({ ...slow, ...exit(0.8, 1, 3), isLate: true }), naming);
    expect(advice.reason).toBe('The time was too short to judge text that leaves early, so tokens do not leave yet.');
    expect(linesOf(advice)[0]).toBe("early-exit calibrate --model m.gguf --exits my.exits --data 'src/**'");
  });

  test.each([
    [
      'few agree at a shallow exit',
      { ...slow, ...exit(0.2, 1, 7, 4) },
      /after layer 4 of 12, .* only 20 %.*deeper/,
      "tune --model m.gguf --data 'src/**' --exits auto --out deeper.exits",
    ],
    [
      'few agree anywhere',
      { ...slow, ...exit(0.5, 1, 3) },
      /more than 50 % of tokens \(11:lens\)/,
      'tune --out my.exits --resume --minutes 30',
    ],
    [
      'the head is dear',
      { ...slow, ...exit(0.8, 2.5, 3) },
      /reading 11:lens takes 2\.50 ms, .* saves 3\.00 of 10\.00 ms.*head/,
      "tune --model m.gguf --data 'src/**' --shortlist 2048 --out smaller.exits",
    ],
    [
      'exits are seldom sure',
      { ...slow, ...exit(0.8, 1, 3) },
      /agrees on 80 % of tokens, but is seldom sure/,
      'tune --out my.exits --resume --minutes 30',
    ],
    [
      'text that left may break the promise',
      {
        ...drafts,
        ...exit(0.8, 1, 3),
        promise: { measure: 'regret', limit: 0.02 },
        broken: { agreement: { value: 0.99, error: 0.001 }, regret: { value: 0.0161, error: 0.0043 } },
      },
      /the most cautious thresholds cost 0\.0161 ± 0\.0043 nats a token, and 0\.02 nats could not be proven/,
      'tune --out my.exits --resume --minutes 30',
    ],
    [
      'the same of a promised agreement',
      {
        ...slow,
        ...exit(0.8, 1, 3),
        promise: { measure: 'agreement', limit: 0.99 },
        broken: { agreement: { value: 0.985, error: 0.004 }, regret: { value: 0.0161, error: 0.0043 } },
      },
      /thresholds had 98\.5 % ± 0\.4 % of the full model's tokens, and 99 % could not be proven/,
      'tune --out my.exits --resume --minutes 30',
    ],
    [
      'the promise is kept but little is gained',
      { ...drafts, ...exit(0.8, 1, 3), tried: { speedup: { value: 1.01, error: 0.02 }, busy: 0 } },
      /does not pay here: by itself it is 1\.01 × as fast as full depth; drafts .* give 1\.90 ×\.$/,
      'tune --out my.exits --resume --minutes 30',
    ],
    [
      'the machine was busy meanwhile',
      { ...slow, ...exit(0.8, 1, 3), tried: { speedup: { value: 1.01, error: 0.02 }, busy: 1 } },
      /keeps the promise, but does not pay here.* while other programs kept 1\.0 cores busy;/,
      "calibrate --model m.gguf --exits my.exits --data 'src/**'",
    ],
    [
      'there is little to save',
      { ...slow, ...exit(0.95, 0.2, 0.5) },
      /saves only 0\.50 of 10\.00 ms/,
      "start --model LARGER.gguf --data 'src/**'",
    ],
  ] as const)('where %s, why, and what would help', (_, different, reason, line) => {
    const advice = afterCalibration(found(different), naming);
    expect(advice.reason).toMatch(reason);
    // One sentence.
    expect(advice.reason.match(/\. [A-Z]/)).toBeNull();
    const [first, ...rest] = advice.next;
    expect(first![0]).toMatch(/^early-exit generate/);
    expect(first![1]).toMatch(/^lossless: the text of full depth, 1\.\d\d × as fast$/);
    expect(rest.map(([each]) => each)).toEqual([`early-exit ${line}`]);
  });

  test('where nothing is faster, no speed is promised', () => {
    const advice = afterCalibration(
      found({ ...exit(0.95, 0.2, 0.5), fastest: 'full', speedups: { exits: 1, fast: 0.9, lossless: 0.9 } }),
      naming,
    );
    expect(advice.next[0]![1]).toMatch(/drafts from earlier text bring nothing/);
  });
});

const score = (name: string, agreement: number): ExitScore => ({
  exit: name,
  layer: 11,
  loss: 2,
  perplexity: 7,
  accuracy: 0.3,
  agreement,
});

/** A run knows its model and its text; other text, as a calibration may have read, would be refused. */
const further = 'early-exit tune --out my.exits --resume --minutes 30';

describe('after tuning', () => {
  test.each([
    ['nothing was gained', 0.7, 0.7, /^No exit agrees .* more often/, further],
    ['too few agree', 0.1, 0.4, /40 % of tokens\. That is too few for leaving early to pay\.$/, further],
    [
      'enough agree',
      0.1,
      0.8,
      /80 % of tokens\. What that brings/,
      "early-exit calibrate --model m.gguf --exits my.exits --data 'src/**'",
    ],
  ])('where %s', (_, before, after, reason, command) => {
    const advice = afterTuning([score('11:lens', before)], [score('11:lens', after), score('final', 1)], naming, false);
    expect(advice.reason).toMatch(reason);
    expect(linesOf(advice)[0]).toBe(command);
  });

  test('whose text is too little to calibrate on, the proposed calibration reads other text', () => {
    const advice = afterTuning([score('11:lens', 0.1)], [score('11:lens', 0.8), score('final', 1)], naming, true);
    expect(linesOf(advice)[0]).toBe(
      "early-exit calibrate --model m.gguf --exits my.exits --data 'OTHER/**' --documents all",
    );
  });
});

describe('after a first run', () => {
  const speeds = {
    mode: 'fast',
    auto: 190,
    full: 100,
    rounds: 3,
    machine: 'AMD EPYC, 2 threads, load 0.1 on 2 cores',
  } as const;
  const first = { speeds, scores: [], layers: 12, isCalibrated: true };
  test('one sentence says what was measured where, and one command goes on', () => {
    const advice = afterStart(first, naming, null);
    expect(advice.reason).toBe(
      'The default mode leaves early as calibrated: 190 tokens a second, 1.90 × full depth (medians of 3 texts each, in turn; AMD EPYC, 2 threads, load 0.1 on 2 cores).',
    );
    expect(linesOf(advice)).toEqual([
      "early-exit generate --model m.gguf --exits my.exits --prompt 'export function mean(values'",
    ]);
  });
  test('a calibration is advised only if there is none', () => {
    const advice = afterStart({ ...first, speeds: { ...speeds, mode: 'lossless' }, isCalibrated: false }, naming, null);
    expect(advice.reason).toMatch(/^The default mode writes the full model's own text: /);
    expect(linesOf(advice)).toEqual(["early-exit calibrate --model m.gguf --exits my.exits --data 'src/**'"]);
  });
  test('what could leave, by the exit that would spare most layers, is said if nothing does', () => {
    const bins = (sureOf: number, agreement: number) => [
      { tokens: 600, confidence: 0.4, agreement: 0.5 },
      { tokens: sureOf, confidence: 0.95, agreement },
    ];
    // A hundred tokens were deferred: 600 · 0.5 + 200 · 0.99 agreed, of 900.
    const scores = [
      { ...score('8:lens', 498 / 900), layer: 8, reliability: bins(200, 0.99) },
      { ...score('11:lens', 598 / 900), layer: 11, reliability: bins(300, 596 / 600) },
      score('final', 1),
    ];
    const lossless = { ...speeds, mode: 'lossless' } as const;
    expect(afterStart({ ...first, scores, speeds: lossless }, naming, null).reason).toMatch(
      /on 2 cores\); at a threshold of 0\.9, 22 % of tokens could leave after layer 8 of 12; 8:lens agrees with the model on 99\.0 % of them\.$/,
    );
    expect(afterStart({ ...first, scores }, naming, null).reason).toMatch(/on 2 cores\)\.$/);
    expect(afterStart({ ...first, speeds: lossless }, naming, null).reason).toMatch(/on 2 cores\)\.$/);
  });
  test('a step of its own goes before', () => {
    expect(linesOf(afterStart(first, naming, ['early-exit start --model x', 'more']))).toEqual([
      'early-exit start --model x',
    ]);
  });
});

test('exits are tried with what they were tuned on', () => {
  const folder = mkdtempSync(join(tmpdir(), 'advice-'));
  writeFileSync(join(folder, 'chats.jsonl'), JSON.stringify({ messages: [{ role: 'user', content: 'Hello' }] }));
  const chats = namingOf('my.exits', 'm.gguf', [join(folder, '*.jsonl')]);
  const [line] = afterCalibration(found({}), chats).next[0]!;
  expect(line).toMatch(/ generate --model m\.gguf --exits my\.exits --chat --prompt 'Explain closures\.'$/);
});

test('a command is written so that it runs as printed', () => {
  const words = ['my.exits', 'src/**/*.ts', "it's", '', 'a "b"', 'C:\\my exits', 'C:\\'];
  expect(words.map((word) => shellWord(word, 'linux'))).toEqual([
    'my.exits',
    "'src/**/*.ts'",
    `'it'\\''s'`,
    "''",
    `'a "b"'`,
    "'C:\\my exits'",
    "'C:\\'",
  ]);
  // cmd.exe knows double quotes alone, and what is special within them is left to PowerShell.
  expect(words.map((word) => shellWord(word, 'win32'))).toEqual([
    'my.exits',
    '"src/**/*.ts"',
    '"it\'s"',
    '""',
    `'a "b"'`,
    '"C:\\my exits"',
    "'C:\\'",
  ]);
  const named = namingOf(`${process.cwd()}/a b.exits`, '/models/m.gguf', ['src/**', 'lib']);
  expect(named).toMatchObject({
    exits: " --exits 'a b.exits'",
    model: ' --model /models/m.gguf',
    data: " --data 'src/**' lib",
    prompt: " --prompt 'export function mean(values'",
    directory: "'a b.exits'",
  });
  const [glob] = parseOptions('tune', {}).data;
  for (const data of [glob!, `${process.cwd()}/${glob!}`]) expect(namingOf('x', 'm', [data]).data).toBe('');
  expect(namingOf('x', 'typescript-5m', [])).toMatchObject({ model: '', exits: ' --exits x' });
});
