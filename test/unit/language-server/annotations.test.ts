import { describe, expect, it } from 'vitest';
import { TextDocument } from 'vscode-languageserver-textdocument';
import { annotate, annotateFile, tokenAt } from '../../../backend/language-server/annotated-text.ts';
import * as annotations from '../../../backend/language-server/annotations.ts';
import { emptyTrace, serialiseTrace } from '../../../protocol/exittrace.ts';
import type { TokenRecord } from '../../../protocol/trace.ts';

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

describe('code lenses', () => {
  it('stand above each line where tokens begin', () => {
    expect(annotations.codeLenses(text, at)).toEqual([
      {
        range: { start: { line: 1, character: 2 }, end: { line: 1, character: 2 } },
        command: {
          title: 'layers 3 3 12 · mean 6.0 of 12 · 2.0× fewer layers',
          command: 'earlyExit.showDetails',
          arguments: ['g', 0],
        },
      },
      {
        range: { start: { line: 2, character: 1 }, end: { line: 2, character: 1 } },
        command: {
          title: 'layers 6 · mean 6.0 of 12 · 2.0× fewer layers',
          command: 'earlyExit.showDetails',
          arguments: ['g', 3],
        },
      },
    ]);
  });

  it('show eight layers, and no saving where there is none', () => {
    const full = Array.from({ length: 9 }, (_, i) => token(i, 'x', 12));
    expect(annotations.lensTitle(full, 12)).toBe('layers 12 12 12 12 12 12 12 12 … · mean 12.0 of 12');
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
          '`return`\n\n**Layer 6 of 12** · exit `6:mlp` · 91 % sure\n',
          '| exit | says | sure | also |\n|:--|:--|--:|:--|',
          '| 3:mlp | *defers* | 42 % |  |',
          '| **6:mlp** ← | `` ·a\\|` `` | 91 % | `⏎` 5.0 % |',
        ].join('\n'),
      },
      range: { start: { line: 1, character: 2 }, end: { line: 1, character: 8 } },
    });
    expect(annotations.hover(text, 3, at)).toBeNull();
  });
});

describe('inlay hints', () => {
  it('mark where the layer changes, before a line feed, within the range asked for', () => {
    const hints = annotations.inlayHints(text, { start: 0, end: source.length }, at);
    expect(hints.map(({ label, position }) => [label, position.line, position.character])).toEqual([
      ['3', 1, 10],
      ['12', 1, 11],
      ['6', 2, 1],
    ]);
    expect(annotations.inlayHints(text, { start: 0, end: 20 }, at)).toEqual([]);
  });
});

describe('semantic tokens', () => {
  it('are delta-encoded, one piece a line, typed by depth', () => {
    expect(annotations.semanticTokens([text], source, at)).toEqual([
      ...[1, 2, 6, 1, 0],
      ...[0, 6, 2, 1, 0],
      ...[0, 2, 1, 5, 0],
      ...[1, 0, 1, 5, 0],
    ]);
  });
});

describe('a trace file', () => {
  const file = serialiseTrace(trace);
  const fileDocument = TextDocument.create('file:///a.exittrace', 'exittrace', 1, file);
  const annotated = annotateFile('file:///a.exittrace', 'a.exittrace', file);
  const fileAt = (offset: number) => fileDocument.positionAt(offset);

  it('has lenses on the first token of each line of text', () => {
    const lines = annotations.codeLenses(annotated, fileAt).map((lens) => lens.range.start.line);
    expect(lines.map((line) => file.split('\n')[line])).toEqual(['3 3:mlp 0.9 100 "return"', '6 6:mlp 0.9 103 "\\n"']);
  });

  it('has an outline of its lines and tokens', () => {
    const symbols = annotations.documentSymbols(annotated, fileAt);
    expect(symbols.map(({ name }) => name)).toEqual(['return a;⏎}', '⏎']);
    expect(symbols[0]!.children!.map(({ name, detail }) => [name, detail])).toEqual([
      ['return', 'left at layer 3 of 12, 90 % sure'],
      ['·a', 'left at layer 3 of 12, 90 % sure'],
      [';⏎}', 'left at layer 12 of 12, 90 % sure'],
    ]);
  });

  it('hovers on a token line', () => {
    expect(annotations.hover(annotated, file.indexOf('12 final') + 4, fileAt)!.range).toEqual({
      start: { line: 10, character: 0 },
      end: { line: 10, character: '12 final 0.9 102 ";\\n}"'.length },
    });
  });
});
