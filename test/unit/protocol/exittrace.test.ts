import { describe, expect, it } from 'vitest';
import { emptyTrace, roundToken, serialiseTrace, type Trace } from '../../../protocol/exittrace.ts';
import { parseTrace } from '../../../protocol/trace-reading.ts';

const trace: Trace = {
  model: 'a "model"',
  layers: 12,
  exits: ['3:mlp', '6:mlp', 'final'],
  policy: 'confidence 0.8',
  prompt: 'function\n\tadd(',
  stop: 'length',
  tokens: [
    { sequence: 0, index: 0, id: 521, text: 'a', layer: 3, exit: '3:mlp', confidence: 0.913 },
    {
      sequence: 0,
      index: 1,
      id: 9,
      text: '"\\\n',
      layer: 12,
      exit: 'final',
      confidence: 1e-7,
      opinions: [
        { exit: '3:mlp', layer: 3, confidence: 0.25, token: null, candidates: [] },
        {
          exit: '6:mlp',
          layer: 7,
          confidence: 0.5,
          token: { id: 9, text: '|, "', probability: 0.5 },
          candidates: [
            { id: 9, text: '|, "', probability: 0.5 },
            { id: 10, text: ' defer', probability: 0.125 },
          ],
        },
        { exit: 'final', layer: 12, confidence: 0.75, token: { id: 1, text: '', probability: 0.75 }, candidates: [] },
      ],
    },
    {
      ...{ sequence: 0, index: 2, id: 3, text: '\u2028é', layer: 6, exit: '6:mlp', confidence: 1 },
      draft: { source: 'lookup', accepted: true },
    },
    { sequence: 1, index: 0, id: 3, text: 'x', layer: 6, exit: '6:mlp', confidence: 0 },
    {
      ...{ sequence: 1, index: 4, id: 3, text: 'y', layer: 6, exit: '6:mlp', confidence: 0 },
      draft: { source: '3:mlp', accepted: false },
    },
  ],
};

describe('exittrace', () => {
  it('comes back as it was written', () => {
    expect(parseTrace(serialiseTrace(trace)).trace).toEqual(trace);
    expect(parseTrace(serialiseTrace(emptyTrace())).trace).toEqual(emptyTrace());
    const timed = { ...trace, speedup: 1.73 };
    expect(parseTrace(serialiseTrace(timed)).trace).toEqual(timed);
  });

  it('is text that a person can read, and stable', () => {
    const text = serialiseTrace({ ...trace, tokens: trace.tokens.slice(0, 2) });
    expect(text.split('\n')).toEqual([
      'exittrace 1',
      'model "a \\"model\\""',
      'layers 12',
      'exits 3:mlp 6:mlp final',
      'policy "confidence 0.8"',
      'prompt "function\\n\\tadd("',
      'stop length',
      '',
      'line "a\\"\\\\\\n"',
      '3 3:mlp 0.913 521 "a"',
      '12 final 1e-7 9 "\\"\\\\\\n"',
      '  | 3:mlp 0.25 defer',
      '  | 6:mlp at 7 0.5 9 "|, \\"" 0.5 | 9 "|, \\"" 0.5, 10 " defer" 0.125',
      '  | final 0.75 1 "" 0.75',
      '',
    ]);
    expect(serialiseTrace(parseTrace(text).trace)).toBe(text);
    expect(parseTrace(text.replaceAll('\n', '\r\n')).tokenLines).toEqual([9, 10]);
  });

  it.each([
    ['', 'line 1: expected "exittrace 1"'],
    ['exittrace 2\n', 'line 1: expected "exittrace 1"'],
    ['exittrace 1\nlayers many\n', 'line 2: expected a number of layers'],
    ['exittrace 1\n3 3:mlp 0.9 5\n', 'line 2: expected the text in quotes'],
    ['exittrace 1\n3 3:mlp 0.9 5 "a" b\n', 'line 2: "b" was not expected'],
    ['exittrace 1\n\n| 3:mlp 0.9 defer\n', 'line 3: an opinion without a token'],
    ['exittrace 1\n3 3:mlp 0.9 5 "a" draft lookup maybe\n', 'line 2: "maybe" is neither accepted nor rejected'],
    ['exittrace 1\nstop never\n', 'line 2: "never" is no reason to stop'],
    ['exittrace 1\nmodel "\\q"\n', 'line 2: "\\q" is no JSON string'],
    ['exittrace 1\n-3 3:mlp 0.9 5 "a"\n', 'line 2: "-3" is no keyword of a trace'],
    ['exittrace 1\n3.5 3:mlp 0.9 5 "a"\n', 'line 2: expected a layer'],
    ['exittrace 1\n3 3:mlp 1e999 5 "a"\n', 'line 2: expected a confidence'],
    ['exittrace 1\n3 3:mlp 1 5 "a"\n | mlp 1 defer\n', 'line 3: "mlp" does not tell its layer'],
    [`exittrace 1\n${'x'.repeat(1e6)}\n`, `line 2: "${'x'.repeat(80)}"… is no keyword of a trace`],
    [`exittrace 1\nprompt "${'\\\\'.repeat(1e6)}\n`, 'line 2: expected the prompt in quotes'],
    ['exittrace 1\ncolour red\n', 'line 2: "colour" is no keyword of a trace'],
  ])('names the line of a mistake: %j', (text, message) => {
    expect(() => parseTrace(text, 'a.exittrace')).toThrow(`a.exittrace, ${message}.`);
  });

  it.each(['\0', '\x1b[2J', '\x7f', '\u009b', '\u202e', '\u2066'])(
    'quotes %j in a form that can be shown',
    (character) => {
      for (const line of [character, `model "a${character}\\q"`, `stop ${character}`, `layers 1 ${character}x`])
        expect(() => parseTrace(`exittrace 1\n${line}\n`, `a${character}.exittrace`)).toThrow(
          /^a[^\0-\x1f\x7f-\x9f\u202e\u2066]*, line 2: [^\0-\x1f\x7f-\x9f\u202e\u2066]*\.$/,
        );
    },
  );

  it('rounds probabilities to what it writes', () => {
    expect(roundToken({ ...trace.tokens[0]!, confidence: Math.fround(0.9134567) }).confidence).toBe(0.9135);
  });
});
