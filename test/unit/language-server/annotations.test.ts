import { describe, expect, it } from 'vitest';
import { TextDocument } from 'vscode-languageserver-textdocument';
import { annotate, annotateFile, tokenAt } from '../../../backend/language-server/annotated-text.ts';
import * as annotations from '../../../backend/language-server/annotations.ts';
import { emptyTrace, serialiseTrace } from '../../../protocol/exittrace.ts';
import type { StopReason, TokenRecord } from '../../../protocol/trace.ts';

const token = (index: number, text: string, layer: number, more: Partial<TokenRecord> = {}): TokenRecord => ({
  sequence: 0,
  index,
  id: 100 + index,
  text,
  layer,
  exit: layer === 12 ? 'final' : `${layer}:mlp`,
  confidence: 0.9,
  ...more,
});

const trace = emptyTrace({
  layers: 12,
  exits: ['3:mlp', '6:mlp', 'final'],
  tokens: [token(0, 'return', 3), token(1, ' a', 3), token(2, ';\n}', 12), token(3, '\n', 6)],
});
const source = 'function f() {\n  return a;\n}\nend\n';
const document = TextDocument.create('file:///a.ts', 'typescript', 1, source);
const at = (offset: number) => document.positionAt(offset);
const text = annotate('g', trace, 17, source)!;

describe('annotate', () => {
  it('ties tokens to their text and refuses another text', () => {
    expect(text.span).toEqual({ start: 17, end: 29 });
    expect(text.spans.map(({ start, end }) => source.slice(start, end))).toEqual(['return', ' a', ';\n}', '\n']);
    expect(annotate('g', trace, 16, source)).toBeNull();
  });

  it('reads a document with other line ends', () => {
    const windows = source.replaceAll('\n', '\r\n');
    const tied = annotate('g', trace, 18, windows)!;
    expect(tied.spans.map(({ start, end }) => windows.slice(start, end))).toEqual(['return', ' a', ';\r\n}', '\r\n']);
  });

  it('finds the token at an offset', () => {
    expect([16, 17, 22, 23, 27, 28, 29].map((offset) => tokenAt(text, offset))).toEqual([-1, 0, 0, 1, 2, 3, -1]);
  });
});

/** Tokens after each other from the text's first unit, with the lenses above them as lines and titles; as of a file, where each line has one. */
function lensesOf(
  tokens: TokenRecord[],
  { exits = ['3:mlp', '6:mlp', 'final'], file = true, stop = null as StopReason | null, behind = '' } = {},
): [number, string][] {
  const whole = tokens.map((each) => each.text).join('') + behind;
  const lines = TextDocument.create('file:///b.ts', 'typescript', 1, whole);
  const tied = annotate('g', emptyTrace({ layers: 12, exits, tokens, stop }), 0, whole)!;
  return annotations
    .codeLenses({ ...tied, file }, (offset) => lines.positionAt(offset))
    .map(({ range, command }) => [range.start.line, command!.title]);
}

/** A line of this number of tokens. */
const lineOf = (count: number, layer: number, first = 'a'): TokenRecord[] =>
  Array.from({ length: count }, (_, i) => token(i, i === 0 ? first : i === count - 1 ? ' z\n' : ' b', layer));

describe('code lenses', () => {
  it('are one of a generation, above its first line, which tells where tokens left and opens the details', () => {
    expect(annotations.codeLenses(text, at)).toEqual([
      {
        range: { start: { line: 1, character: 2 }, end: { line: 1, character: 2 } },
        command: {
          title: '4 tokens · 6.0 of 12 layers · leave at 3 and 6 ▾',
          command: 'earlyExit.showDetails',
          arguments: ['g', 0],
        },
      },
    ]);
    const timed = { ...text, trace: { ...text.trace, speedup: 2.134 } };
    expect(annotations.codeLenses(timed, at)[0]!.command!.title).toBe(
      '4 tokens · about 2.1× full depth · leave at 3 and 6 ▾',
    );
    const inText = { file: false };
    expect(lensesOf([...lineOf(8, 3), ...lineOf(7, 12)], inText)).toEqual([
      [0, '15 tokens · 7.2 of 12 layers · leave at 3 ▾'],
    ]);
    const draft = { source: 'lookup', accepted: true };
    const guessed = [token(0, 'x', 12, { draft }), token(1, 'y', 12, { draft: { ...draft, source: '3:mlp' } })];
    expect(lensesOf([...guessed, token(2, 'z', 12)], inText)).toEqual([
      [0, '3 tokens · 3.0 at a time · drafted by the earlier text and exit 3, verified by the full model ▾'],
    ]);
    expect(lensesOf([token(0, 'x', 12)], inText)).toEqual([[0, '1 token · all 12 layers ▾']]);
  });

  it('say below a text why it ended before it was done, and how it goes on', () => {
    const ended = (stop: StopReason, behind = '\n') =>
      lensesOf([...lineOf(8, 3), token(8, 'a', 3)], { file: false, stop, behind }).slice(1);
    expect(ended('length')).toEqual([[2, 'reached 9 tokens · Continue']]);
    expect(ended('repetition')).toEqual([[2, 'ended: it began to repeat itself']]);
    expect(ended('context-full')).toEqual([[2, 'ended: the model sees no more text']]);
    for (const stop of ['block-end', 'end-of-text', 'cancelled'] as const) expect(ended(stop)).toEqual([]);
    // Editors show no lens behind the last line of a file.
    expect(ended('length', '')).toEqual([[1, 'reached 9 tokens · Continue']]);
  });

  it('stand above each line of a trace where one sees tokens begin', () => {
    expect(lensesOf([...lineOf(8, 3), ...lineOf(7, 12)])).toEqual([
      [0, '8 of 8 tokens left early · 3.0 of 12 layers on average'],
      [1, 'all 12 layers for 7 tokens'],
    ]);
  });

  it('never stand above a blank line, whose tokens the line before counts', () => {
    const blank = [token(8, '\n', 6), token(9, '  \n', 6), token(10, '\n  ', 6)];
    expect(lensesOf([...lineOf(8, 3), ...blank, ...lineOf(7, 12)])).toEqual([
      [0, '11 of 11 tokens left early · 3.8 of 12 layers on average'],
      [4, 'all 12 layers for 7 tokens'],
    ]);
    expect(lensesOf([token(0, '\n\n  x', 3), ...lineOf(7, 3, ' y')]).map(([line]) => line)).toEqual([2]);
    expect(lensesOf([token(0, '\n', 3), token(1, '  ', 3)])).toEqual([]);
  });

  it('are one for three or more short lines in a row, and one each for two', () => {
    const short = lineOf(3, 6);
    expect(lensesOf([...lineOf(8, 3), ...short, ...short, ...short, ...lineOf(8, 3)])).toEqual([
      [0, '8 of 8 tokens left early · 3.0 of 12 layers on average'],
      [1, '3 lines: 9 of 9 tokens left early · 6.0 of 12 layers on average'],
      [4, '8 of 8 tokens left early · 3.0 of 12 layers on average'],
    ]);
    expect(lensesOf([...short, ...short, ...lineOf(8, 3)])).toHaveLength(3);
  });

  it("show what was drafted if every token is the full model's", () => {
    const draft = { source: 'lookup', accepted: true };
    expect(annotations.lensTitle([token(0, 'x', 12, { draft }), token(1, 'y', 12)], 12)).toBe(
      '1 of 2 tokens drafted, then verified by the full model',
    );
    expect(annotations.lensTitle([token(0, 'x', 12)], 12)).toBe('all 12 layers for 1 token');
  });

  it('are one that offers to tune where there are no exits', () => {
    const tokens = [...lineOf(8, 12), ...lineOf(8, 12)];
    expect(lensesOf(tokens, { exits: ['final'], file: false })).toEqual([
      [0, '16 tokens · all 12 layers · tune exits to leave earlier'],
    ]);
    const tied = annotate(
      'g',
      emptyTrace({ layers: 12, exits: ['final'], tokens: [token(0, 'return', 12)] }),
      17,
      source,
    )!;
    expect(annotations.codeLenses(tied, at)[0]!.command!.command).toBe('earlyExit.tune');
  });
});

describe('hover', () => {
  it('says the layer, the confidence and every opinion', () => {
    const opinions = [
      { exit: '3:mlp', layer: 3, confidence: 0.42, token: null, candidates: [] },
      {
        exit: '6:mlp',
        layer: 6,
        confidence: 0.91,
        token: { id: 1, text: ' a|`', probability: 0.91 },
        candidates: [
          { id: 1, text: ' a|`', probability: 0.91 },
          { id: 2, text: '\n', probability: 0.05 },
        ],
      },
    ];
    const one = emptyTrace({ layers: 12, tokens: [token(0, 'return', 6, { opinions, confidence: 0.91 })] });
    expect(annotations.hover(annotate('g', one, 17, source)!, 18, at)).toEqual({
      contents: {
        kind: 'markdown',
        value: [
          '`return`\n\n**Layer 6 of 12** · left early at exit 6:mlp, 91 % sure\n',
          '| exit | says | sure | also |\n|:--|:--|--:|:--|',
          '| 3:mlp | *defers* | 42 % |  |',
          '| **6:mlp** ← | `` ·a\\|` `` | 91 % | `⏎` 5.0 % |',
        ].join('\n'),
      },
      range: { start: { line: 1, character: 2 }, end: { line: 1, character: 8 } },
    });
    expect(annotations.hover(text, 3, at)).toBeNull();
  });

  it('says what drafted the tokens that the full model verified, and what that means', () => {
    const hoverOf = (draft: TokenRecord['draft']): string => {
      const one = emptyTrace({ layers: 12, tokens: [token(0, 'return', 12, draft && { draft })] });
      const { contents } = annotations.hover(annotate('g', one, 17, source)!, 18, at)!;
      return (contents as { value: string }).value;
    };
    expect(hoverOf({ source: '6:mlp', accepted: true })).toBe(
      '`return`\n\n**Layer 12 of 12** · drafted by exit 6:mlp, verified by the full model, 90 % sure\n\n' +
        '*The full model verifies every draft, so the text is its own; accepted drafts only make it faster.*',
    );
    expect(hoverOf({ source: 'lookup', accepted: true })).toContain('drafted by the earlier text, verified');
    expect(hoverOf({ source: '6:mlp', accepted: false })).toContain('exit 6:mlp had drafted another token');
    expect(hoverOf(undefined)).toBe('`return`\n\n**Layer 12 of 12** · predicted by the full model, 90 % sure');
  });
});

describe('a hover over a hostile trace', () => {
  const names = [
    '![x](https://evil.example/a.png)',
    '[x](command:workbench.action.quit)',
    '<img src=https://evil.example>',
    'https://evil.example',
    '<https://evil.example>',
    'www.evil.example',
    '**a**',
    '`` ` ``',
    '| a | b |',
    '\\|![x](https://evil.example/a.png)',
    'a\\\\|b',
    '&lt;b&gt;',
    'a\nb\r\n# c\u001b[31m',
    '',
  ];

  it.each(names)('shows %j as text', (name) => {
    const candidates = [{ id: 2, text: name, probability: 0.1 }];
    const opinions = [
      { exit: name, layer: 3, confidence: 0.4, token: { id: 1, text: name, probability: 0.4 }, candidates },
    ];
    for (const more of [{ exit: name }, { exit: 'final', draft: { source: name, accepted: true } }]) {
      const one = emptyTrace({ layers: 12, tokens: [token(0, name, 3, { ...more, opinions })] });
      const { contents } = annotations.hover(
        { ...annotate('g', one, 0, name.replaceAll('\r', ''))!, file: true },
        0,
        at,
      )!;
      const { kind, value } = contents as { kind: string; value: string };
      expect(kind).toBe('markdown');
      const rows = value.split('\n');
      const table = rows.filter((row) => row.startsWith('|'));
      expect(table).toHaveLength(3);
      // Outside inline code every mark that makes something in Markdown stands behind a backslash.
      const outside = withoutCode(value).replaceAll(/\\[!-/:-@[-`{-~]/g, '');
      expect(outside).not.toMatch(/[[\]<>`!_~&#]|https?:|www\.|command:|\u001b/);
      // The cells of a row are those of its head: their borders, the bars behind an even number of backslashes, are found before code is.
      expect(table.map((row) => row.match(/(?<!\\)(?:\\\\)*\|/g)!.length)).toEqual([5, 5, 5]);
    }
  });

  /** Without inline code: as many backticks at the end as at the beginning. */
  const withoutCode = (text: string): string =>
    text.replaceAll(/(?<![\\`])(`+)(?!`)(?:(?!\n\n)[^])*?(?<!`)\1(?!`)/g, '');
});

describe('inlay hints', () => {
  it('mark where who says a token changes, before a line feed, within the range asked for', () => {
    const hints = annotations.inlayHints(text, { start: 0, end: source.length }, at);
    expect(hints.map(({ label, position }) => [label, position.line, position.character])).toEqual([
      ['3', 1, 10],
      ['12', 1, 11],
      ['6', 2, 1],
    ]);
    expect(annotations.inlayHints(text, { start: 0, end: 20 }, at)).toEqual([]);
    const windows = source.replaceAll('\n', '\r\n');
    const lines = TextDocument.create('file:///w.ts', 'typescript', 1, windows);
    const tied = annotate('g', trace, 18, windows)!;
    const marks = annotations.inlayHints(tied, { start: 0, end: windows.length }, (offset) => lines.positionAt(offset));
    expect(marks.map(({ position }) => position)).toEqual(hints.map(({ position }) => position));
  });
});

describe('figures behind lines', () => {
  it('tell how many layers each line took, before its line feed; a trace file has none', () => {
    const figures = annotations.lineFigures(text, { start: 0, end: source.length }, at);
    expect(figures.map(({ label, position }) => [label, position.line, position.character])).toEqual([
      ['6.0 of 12 layers', 1, 11],
    ]);
    expect(annotations.lineFigures(text, { start: 0, end: 20 }, at)).toEqual([]);
    expect(annotations.lineFigures({ ...text, file: true }, { start: 0, end: source.length }, at)).toEqual([]);
  });

  it.each(['\n', '\r\n'])(
    'stand at the end of a line within a token, in a document with the line ends %j',
    (lineEnd) => {
      const tokens = [token(0, 'a', 3), token(1, ';\r\n}\n', 12)];
      const own = `a;${lineEnd}}${lineEnd}`;
      const lines = TextDocument.create('file:///w.ts', 'typescript', 1, own);
      const tied = annotate('g', emptyTrace({ layers: 12, exits: ['3:mlp', 'final'], tokens }), 0, own)!;
      const [figure] = annotations.lineFigures(tied, { start: 0, end: own.length }, (offset) =>
        lines.positionAt(offset),
      );
      expect(figure!.position).toEqual({ line: 0, character: 2 });
    },
  );
});

describe('semantic tokens', () => {
  it('are delta-encoded, one piece a line, typed by shade', () => {
    expect(annotations.semanticTokens([text], source, at)).toEqual([
      ...[1, 2, 6, 1, 0],
      ...[0, 6, 2, 1, 0],
      ...[0, 2, 1, 7, 0],
      ...[1, 0, 1, 7, 0],
    ]);
  });
});

describe('a trace file', () => {
  const file = serialiseTrace(trace);
  const fileDocument = TextDocument.create('file:///a.exittrace', 'exittrace', 1, file);
  const { text: annotated } = annotateFile('file:///a.exittrace', 'a.exittrace', file);
  const fileAt = (offset: number) => fileDocument.positionAt(offset);

  it('has lenses on the first token of each line of text that is not blank', () => {
    const lines = annotations.codeLenses(annotated, fileAt).map((lens) => lens.range.start.line);
    expect(lines.map((line) => file.split('\n')[line])).toEqual(['3 3:mlp 0.9 100 "return"']);
  });

  it('has an outline of its lines and tokens', () => {
    const symbols = annotations.documentSymbols(annotated, fileAt);
    expect(symbols.map(({ name }) => name)).toEqual(['return a;⏎}', '⏎']);
    expect(symbols[0]!.children!.map(({ name, detail }) => [name, detail])).toEqual([
      ['return', 'layer 3 of 12: left early at exit 3:mlp, 90 % sure'],
      ['·a', 'layer 3 of 12: left early at exit 3:mlp, 90 % sure'],
      [';⏎}', 'layer 12 of 12: predicted by the full model, 90 % sure'],
    ]);
  });

  it('hovers on a token line', () => {
    expect(annotations.hover(annotated, file.indexOf('12 final') + 4, fileAt)!.range).toEqual({
      start: { line: 10, character: 0 },
      end: { line: 10, character: '12 final 0.9 102 ";\\n}"'.length },
    });
  });
});

it('draws no character that does harm where it is shown, be it in a text or a name', () => {
  const harm = '\0\x1b\x7f\u009b\u202e\u2066';
  const opinion = { exit: `3:${harm}`, layer: 3, confidence: 0.5, token: { id: 1, text: harm, probability: 0.5 } };
  const tokens = [
    token(0, `a${harm}`, 3, { exit: `3:${harm}`, opinions: [{ ...opinion, candidates: [opinion.token] }] }),
    token(1, 'b\n', 12, { draft: { source: harm, accepted: true } }),
  ];
  const { text: own } = annotateFile(
    'a',
    'a',
    serialiseTrace(emptyTrace({ layers: 12, exits: ['3:mlp', 'final'], tokens })),
    new Map(),
  );
  const start = () => ({ line: 0, character: 0 });
  const drawn = [
    annotations.codeLenses(own, start),
    annotations.inlayHints(own, { start: 0, end: Infinity }, start),
    annotations.documentSymbols(own, start),
    ...own.spans.map((span) => annotations.hover(own, span.start, start)),
  ];
  expect(texts(drawn).filter((each) => /[\0-\x08\x0b-\x1f\x7f-\x9f\u202e\u2066]/.test(each))).toEqual([]);
  expect(texts(drawn).some((each) => each.includes('␛'))).toBe(true);
});

/** All texts in a record. */
const texts = (value: unknown): string[] =>
  typeof value === 'string'
    ? [value]
    : typeof value === 'object' && value !== null
      ? Object.values(value).flatMap(texts)
      : [];
