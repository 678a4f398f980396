import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { showCalibrate } from '../../../../backend/cli/draw/calibrate.ts';
import { showDoctor } from '../../../../backend/cli/draw/doctor.ts';
import { showEvaluate } from '../../../../backend/cli/draw/evaluate.ts';
import { showGenerate } from '../../../../backend/cli/draw/generate.ts';
import { showJson } from '../../../../backend/cli/json.ts';
import { openStatus } from '../../../../backend/cli/draw/status.ts';
import { duration, figures, table } from '../../../../backend/cli/draw/table.ts';
import { showTune } from '../../../../backend/cli/draw/tune.ts';
import { resolveModel } from '../../../../backend/recipes/at-hand/shipped-model.ts';
import type { CalibrateEvent, ExitScore, GenerateEvent, TuneEvent } from '../../../../protocol/events.ts';
import { openScreen, plain, stream, visible } from '../screen.ts';

const score = (exit: string, layer: number, loss: number, agreement: number): ExitScore => ({
  exit,
  layer,
  loss,
  perplexity: Math.exp(loss),
  accuracy: agreement / 2,
  agreement,
});

const tuning: TuneEvent[] = [
  { type: 'phase', phase: 'load', detail: 'typescript-5m' },
  {
    type: 'ready',
    model: 'typescript-5m',
    layers: 12,
    exits: [
      { exit: '6:lens', layer: 6 },
      { exit: '10:lens', layer: 10 },
    ],
    device: 'cpu',
  },
  { type: 'progress', phase: 'fit', done: 20_000, total: 20_000, unit: 'tokens' },
  { type: 'evaluation', step: 0, tokens: 8192, scores: [score('6:lens', 6, 5, 0.2)], best: true },
  {
    type: 'step',
    step: 1,
    steps: 4,
    epoch: 0,
    tokens: 2048,
    tokensPerSecond: 4000,
    learningRate: 1e-4,
    loss: 9,
    losses: { '6:lens': 5.1, '10:lens': 3.9 },
    gradientNorms: { '6:lens': 1, '10:lens': 1 },
    secondsLeft: 65,
  },
  { type: 'warning', message: 'The data has few documents.' },
  {
    type: 'tuned',
    directory: 'my.exits',
    model: 'm.gguf',
    data: ['src'],
    step: 4,
    before: [score('6:lens', 6, 5, 0.2), score('10:lens', 10, 4, 0.4), score('final', 12, 2.5, 1)],
    after: [score('6:lens', 6, 4.25, 0.3), score('10:lens', 10, 3.5, 0.5), score('final', 12, 2.5, 1)],
    seconds: 61,
    stopped: false,
  },
];

describe('showTune', () => {
  it('writes the table of before and after to standard output', async () => {
    const screen = openScreen();
    const tuned = await showTune(stream(...tuning), screen.terminal);
    expect(tuned?.directory).toBe('my.exits');
    expect(screen.out()).toBe(
      [
        '',
        'Held-out loss, nats a token · step 4, 1:01 min',
        'exit     layer  loss before  after  agreement before  after  accuracy',
        '6:lens       6         5.00   4.25              20 %   30 %      15 %',
        '10:lens     10         4.00   3.50              40 %   50 %      25 %',
        'final       12                2.50                               50 %',
        '',
        'Exits in my.exits',
        '',
        '10:lens agrees with the model most often, on 50 % of tokens. That is too few for leaving early to pay.',
        'Next',
        '  npx early-exit tune --out my.exits --resume --minutes 30',
        '      go on tuning, so that exits agree more often',
        '',
      ].join('\n'),
    );
    expect(visible(screen.err()).map((line) => line.replace(/\d+\.\d s$/, 'T'))).toEqual([
      '✓ Loading               typescript-5m T',
      'typescript-5m · 12 layers · exits 6:lens, 10:lens · cpu',
      '✓ Fitting               20,000 tokens T',
      '  held-out loss at step 0  6:lens 5.000',
      '! The data has few documents.',
      '✓ Tuning                2,048 tokens T',
    ]);
  });

  it('writes no colours into a file, also where progress is drawn on a terminal', async () => {
    const [file, watched] = [openScreen(), openScreen({ tty: true })];
    await showTune(stream(...tuning), { out: file.terminal.out, err: watched.terminal.err });
    expect(watched.err()).toContain('\x1b[');
    expect(file.out()).toContain('Exits in my.exits');
    expect(file.out()).toBe(plain(file.out()));
  });

  it('draws a bar over one line where a person looks', async () => {
    const screen = openScreen({ tty: true });
    await showTune(stream(...tuning), screen.terminal);
    expect(screen.err()).toMatch(/\r\x1b\[2K {2}Loading/);
    expect(visible(screen.err()).join('\n')).not.toMatch(/━|\r/);
  });

  it('names the model that is loaded as a person would: the one that ships by name, others by the path from here', async () => {
    const loading = async (detail: string): Promise<string> => {
      const screen = openScreen();
      await showTune(stream({ type: 'phase', phase: 'load', detail }), screen.terminal);
      return plain(screen.err());
    };
    expect(await loading(resolveModel('typescript-5m'))).toMatch(/Loading +typescript-5m /);
    expect(await loading(path.resolve('some/m.gguf'))).toMatch(/Loading +some\/m\.gguf /);
    expect(await loading('owner/model')).toMatch(/Loading +owner\/model /);
  });

  it('says how to go on after an interruption', async () => {
    const screen = openScreen();
    const last = tuning.at(-1) as Extract<TuneEvent, { type: 'tuned' }>;
    await showTune(stream({ ...last, stopped: true }), screen.terminal);
    expect(screen.err()).toBe('Stopped before its end; continue with npx early-exit tune --out my.exits --resume\n');
  });
});

const token = (index: number, text: string, exit: string, layer: number): GenerateEvent => ({
  type: 'token',
  token: { sequence: 0, index, id: index, text, layer, exit, confidence: 0.9 },
});
const generation: GenerateEvent[] = [
  {
    type: 'ready',
    model: 'm',
    layers: 12,
    exits: [
      { exit: '6:lens', layer: 6 },
      { exit: '10:lens', layer: 10 },
    ],
    device: 'cpu',
    mode: 'fast',
    policy: 'as calibrated',
  },
  token(0, 'return', '6:lens', 6),
  token(1, ' x', '10:lens', 10),
  token(2, ';\n', 'final', 12),
  token(3, '}', '6:lens', 6),
  {
    type: 'generated',
    texts: ['return x;\n}'],
    stops: ['length'],
    promptTokens: 5,
    tokens: 4,
    meanLayer: 8.5,
    layers: 12,
    tokensPerSecond: 212.4,
    speedup: null,
    promptSeconds: 0.021,
  },
];

describe('showGenerate', () => {
  it('gives standard output the text alone', async () => {
    const screen = openScreen();
    await showGenerate(stream(...generation), screen.terminal, ['f']);
    expect(screen.out()).toBe('return x;\n}\n');
    expect(screen.err()).toContain('■ 6:lens 50 %  ■ 10:lens 25 %  ■ final 25 %\n');
    expect(screen.err()).toContain(
      '4 tokens · mean layer 8.5 of 12 (71 %) · 212 tokens/s · prompt of 5 tokens in 0.02 s · reached --max-tokens\n',
    );
  });

  it('colours tokens from shallow to deep and leaves the final exit plain', async () => {
    const screen = openScreen({ tty: true });
    await showGenerate(stream(...generation), screen.terminal, ['f']);
    expect(screen.out()).toBe(
      '\n\x1b[2mf\x1b[22m\x1b[38;5;30mreturn\x1b[39m \x1b[38;5;166mx\x1b[39m;\n\x1b[38;5;30m}\x1b[39m\n',
    );
  });

  it('colours what was drafted by who drafted it, and nothing where there are no exits', async () => {
    const drafted = (index: number, text: string, source: string, accepted: boolean): GenerateEvent => {
      const plain = token(index, text, 'final', 12) as Extract<GenerateEvent, { type: 'token' }>;
      return { ...plain, token: { ...plain.token, draft: { source, accepted } } };
    };
    const tokens = [
      drafted(0, 'a', 'lookup', true),
      drafted(1, 'b', '10:lens', true),
      drafted(2, 'c', '6:lens', false),
    ];
    const screen = openScreen({ tty: true });
    await showGenerate(stream(generation[0]!, ...tokens, generation.at(-1)!), screen.terminal, ['f']);
    expect(screen.out()).toContain('\x1b[38;5;28ma\x1b[39m\x1b[38;5;166mb\x1b[39mc');
    expect(screen.err()).toContain('■ copied from earlier text\x1b[39m 33 %');
    const without = openScreen({ tty: true });
    const ready = { ...generation[0]!, exits: [] } as GenerateEvent;
    await showGenerate(stream(ready, ...tokens, generation.at(-1)!), without.terminal, ['f']);
    expect(without.out()).toContain('abc');
  });

  it('says that the text is that of full depth, and counts one as one', async () => {
    const ready = { ...generation[0], mode: 'lossless', policy: null } as GenerateEvent;
    const end = { ...generation.at(-1), tokens: 1, promptTokens: 1 } as GenerateEvent;
    const screen = openScreen({ tty: true });
    await showGenerate(stream(ready, token(0, ' d', 'final', 12), end), screen.terminal, ['f']);
    expect(visible(screen.err())[0]).toBe('m · 12 layers · exits 6:lens, 10:lens · cpu · lossless');
    expect(visible(screen.err()).at(-2), 'exits that said nothing are no part of the legend').toBe('■ final 100 %');
    expect(visible(screen.err()).at(-1)).toBe(
      '1 token · the text of full depth (12 layers) · 212 tokens/s · prompt of 1 token in 0.02 s · reached --max-tokens',
    );
  });

  it('respects NO_COLOR, CI and FORCE_COLOR', async () => {
    const quiet = openScreen({ tty: true, environment: { NO_COLOR: '1' } });
    await showGenerate(stream(...generation), quiet.terminal, ['f']);
    expect(quiet.out()).toBe('\nfreturn x;\n}\n');
    const ci = openScreen({ tty: true, environment: { CI: 'true' } });
    await showTune(stream(...tuning), ci.terminal);
    expect(ci.err()).not.toContain('\r');
    const forced = openScreen({ environment: { FORCE_COLOR: '1' } });
    await showGenerate(stream(...generation), forced.terminal, ['f']);
    expect(forced.out()).toContain('\x1b[38;5;30mreturn\x1b[39m');
  });

  it('keeps the texts of a batch apart', async () => {
    const screen = openScreen();
    const second = {
      ...generation[2]!,
      token: { ...(token(0, 'no', 'final', 12) as { token: object }).token, sequence: 1 },
    };
    await showGenerate(stream(generation[1]!, second as GenerateEvent, generation[4]!), screen.terminal, ['a', 'b']);
    expect(screen.out()).toBe('── 1 of 2\nreturn}\n── 2 of 2\nno\n');
  });
});

describe('showJson', () => {
  it('gives a flat line a token and the rest as it is', async () => {
    const screen = openScreen();
    await showJson(stream(...generation), screen.terminal);
    const lines = screen
      .out()
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(lines.map((line) => line['type'])).toEqual(['ready', 'token', 'token', 'token', 'token', 'generated']);
    expect(lines[1]).toEqual({
      type: 'token',
      sequence: 0,
      index: 0,
      id: 0,
      text: 'return',
      layer: 6,
      exit: '6:lens',
      confidence: 0.9,
    });
  });
});

describe('showEvaluate', () => {
  const measured = { exits: 'my.exits', model: 'm.gguf', data: ['text/**'] };

  it('aligns scores and sweep', async () => {
    const screen = openScreen();
    const sweep = [{ threshold: 0.5, meanLayer: 7.25, layerShare: 0.6, agreement: 0.925 }];
    const scores = [score('6:lens', 6, 4, 0.3), score('final', 12, 2.5, 1)];
    await showEvaluate(stream({ type: 'evaluated', tokens: 8192, scores, sweep }), screen.terminal, measured);
    expect(screen.out()).toBe(
      [
        '',
        'Exits · 8,192 tokens',
        'exit    layer   loss  perplexity  accuracy  agreement',
        '6:lens      6  4.000        54.6    15.0 %     30.0 %',
        'final      12  2.500        12.2    50.0 %    100.0 %',
        '',
        'Thresholds · how sure an exit must be, and what that saves on this text',
        'threshold  mean layer  layers run  agreement  layers run, of all',
        '0.50             7.25      60.0 %     92.5 %  ▇▇▇▇▇▇▇▇▇▇▇▇',
        '',
        '6:lens agrees with the full model most often, on 30 % of tokens. No threshold leaves early and keeps 99 % of tokens: longer tuning would help.',
        'Next',
        '  npx early-exit tune --out my.exits --resume --minutes 30',
        '      go on tuning, so that exits agree more often',
        '',
      ].join('\n'),
    );
  });

  it('ends with the threshold that saves most where nearly all agree', async () => {
    const screen = openScreen();
    const sweep = [
      { threshold: 1, meanLayer: 12, layerShare: 1, agreement: 1 },
      { threshold: 0.9, meanLayer: 11, layerShare: 0.92, agreement: 0.998 },
      { threshold: 0.8, meanLayer: 10, layerShare: 0.83, agreement: 0.991 },
      { threshold: 0.7, meanLayer: 8, layerShare: 0.67, agreement: 0.94 },
    ];
    const scores = [score('6:lens', 6, 4, 0.3), score('10:lens', 10, 3, 0.7), score('final', 12, 2.5, 1)];
    await showEvaluate(stream({ type: 'evaluated', tokens: 8192, scores, sweep }), screen.terminal, measured);
    const [, what, next, command] = screen
      .out()
      .split('\n\n')
      .at(-1)!
      .match(/^(.*)\n(.*)\n(.*)\n/)!;
    expect([next, command]).toEqual([
      'Next',
      "  npx early-exit calibrate --model m.gguf --exits my.exits --data 'text/**'",
    ]);
    expect(what).toBe(
      "10:lens agrees with the full model most often, on 70 % of tokens. At 0.80, 83 % of layers are run and 99.1 % of tokens are the full model's; what that brings in time, a calibration measures.",
    );
  });
});

describe('showCalibrate', () => {
  it('says which exits are asked, and how fast each way is here', async () => {
    const screen = openScreen();
    const events = stream<CalibrateEvent>({
      type: 'calibrated',
      tokens: 4096,
      promise: { measure: 'agreement', limit: 0.99 },
      certainty: 0.95,
      brought: {
        speedup: { value: 1.134, error: 0.01 },
        agreement: { value: 0.9951, error: 0.001 },
        regret: { value: 0.0042, error: 0.001 },
        machine: 'a processor, 2 cores',
        busy: 1.2,
      },
      exits: [
        { exit: '4:lens', layer: 4, threshold: null, milliseconds: 0.4, saves: 2.5, agreement: 0.3 },
        { exit: '6:lens', layer: 6, threshold: null, trust: 0.97, milliseconds: 0.4, saves: 2, agreement: 0.4 },
        { exit: '10:lens', layer: 10, threshold: 0.75, milliseconds: 0.3, saves: 0.6, agreement: 0.7 },
      ],
      meanLayer: 11,
      layers: 12,
      fullDepth: 2.5,
      speedups: { exits: 1.1, fast: 1.5, lossless: 1.6 },
      texts: 6,
      fastest: 'lossless',
      seconds: 34,
    });
    await showCalibrate(events, screen.terminal, { exits: 'my.exits', model: 'm.gguf', data: ['src'] });
    const lines = visible(screen.out());
    expect(lines).toEqual([
      'Thresholds · 4,096 tokens, 6 texts in turn, 34 s',
      expect.stringMatching(/^exit +threshold +trusts hints from +agreement +reading it takes +leaving saves$/),
      expect.stringMatching(/^4:lens +not used +none +30 % +0\.40 ms +2\.50 ms$/),
      expect.stringMatching(/^6:lens +not read +0\.9700 +40 % +0\.40 ms +2\.00 ms$/),
      expect.stringMatching(/^10:lens +0\.7500 +none +70 % +0\.30 ms +0\.60 ms$/),
      "exits alone: 1.13 × as fast as full depth; 99.5 % of tokens are the full model's own choice; a token costs 0.0042 nats",
      "promised at least 99 % of tokens the full model's · mean layer 11.0 of 12 · 1.10 × full depth by costs",
      'measured compared with full depth, both with drafts from earlier text: leaving early 1.50 ×, lossless 1.60 ×; the default mode is now lossless',
      'Other programs kept 1.2 cores busy meanwhile: calibrate again on a quiet machine for reliable speeds.',
      'Leaving early is 1.13 × as fast as full depth by itself; drafts, which change no text, are faster, so the default is lossless.',
      'Next',
      expect.stringMatching(
        /early-exit generate --model m\.gguf --exits my\.exits --prompt 'export function mean\(values'$/,
      ),
      '      lossless: the text of full depth, 1.60 × as fast',
      expect.stringMatching(
        /generate --model m\.gguf --exits my\.exits --mode fast --prompt 'export function mean\(values'$/,
      ),
      '      leaves as calibrated',
    ]);
  });
});

describe('showDoctor', () => {
  it('lists what is there and how to get the rest', async () => {
    const screen = openScreen();
    await showDoctor(
      stream(
        { type: 'finding' as const, name: 'cpu', state: 'ready' as const, detail: '2 cores', remedy: null },
        {
          type: 'finding' as const,
          name: 'tensorflow',
          state: 'absent' as const,
          detail: 'not installed',
          remedy: 'early-exit doctor --install tensorflow',
        },
        { type: 'diagnosed' as const, device: 'cpu', exitDevice: 'cpu', reason: 'No GPU was found.' },
      ),
      screen.terminal,
    );
    expect(screen.out()).toBe(
      [
        '✓ ready   cpu         2 cores',
        '○ absent  tensorflow  not installed',
        '',
        'What is missing, and how to get it',
        '  tensorflow: early-exit doctor --install tensorflow',
        '',
        'auto runs the model on cpu and tunes exits on cpu',
        'No GPU was found.',
        '',
      ].join('\n'),
    );
  });
});

describe('status', () => {
  it('writes a line every five seconds if lines cannot be redrawn', () => {
    const screen = openScreen();
    let now = 0;
    const status = openStatus(screen.terminal.err, () => now);
    for (; now < 11_000; now += 1000) status.show(now / 20_000, (share) => `at ${share}`);
    expect(screen.err()).toBe('at 25 %\nat 50 %\n');
  });

  it('draws what goes on below a line at once', () => {
    const screen = openScreen({ tty: true });
    let now = 0;
    const status = openStatus(screen.terminal.err, () => now);
    status.show(0.5, () => 'first');
    now += 10;
    status.show(0.6, () => 'too soon');
    status.say('done');
    status.show(0, () => 'second');
    expect(visible(screen.err())).toEqual(['done', 'second']);
    expect(screen.err()).not.toContain('too soon');
  });

  it('never draws more than the line holds', () => {
    const screen = openScreen({ tty: true });
    openStatus(screen.terminal.err).show(0.5, (bar) => `${bar} ${'x'.repeat(200)}`);
    expect(plain(screen.err()).replace('\r', '')).toHaveLength(99);
  });

  it('counts the columns of letters that are two wide, and of accents', () => {
    const screen = openScreen({ tty: true });
    openStatus(screen.terminal.err).show(0.5, () => '模型'.repeat(60));
    expect(plain(screen.err()).replace('\r', '')).toBe(`${'模型'.repeat(24)}模…`);
    expect(table([['模型', '1'], ['e\u0301', '22'], ['abcd🦊', '3']])).toBe('模型     1\ne\u0301       22\nabcd🦊   3\n'); // prettier-ignore
  });
});

describe('numbers', () => {
  it('are short', () => {
    expect([0, 0.00123, 1.234, 12.34, 123.4, 12345, NaN].map(figures)).toEqual([
      '0.00',
      '0.0012',
      '1.23',
      '12.3',
      '123',
      '12,345',
      '–',
    ]);
    expect([0.42, 12.4, 59.7, 125, 3720].map(duration)).toEqual(['0.4 s', '12 s', '1:00 min', '2:05 min', '1:02 h']);
    expect(
      table([
        ['a', '\x1b[1m1\x1b[22m'],
        ['bbb', '10'],
      ]),
    ).toBe('a     \x1b[1m1\x1b[22m\nbbb  10\n');
  });
});
