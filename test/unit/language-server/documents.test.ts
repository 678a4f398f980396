import { describe, expect, it } from 'vitest';
import {
  attach,
  changeDocument,
  detach,
  openDocument,
  reopened,
  type OpenDocument,
} from '../../../backend/language-server/documents.ts';
import { emptyTrace, serialiseTrace } from '../../../protocol/exittrace.ts';
import type { TokenRecord } from '../../../protocol/trace.ts';
import { random } from '../../support/random.ts';

const tokens = (...texts: string[]): TokenRecord[] =>
  texts.map((text, index) => ({ sequence: 0, index, id: index, text, layer: 3, exit: '3:mlp', confidence: 1 }));
const open = (): OpenDocument => openDocument('file:///a.ts', 'typescript', 1, 'one\ntwo\nthree\n');
const attached = (): OpenDocument => attach(open(), 'g', 4, emptyTrace({ layers: 6, tokens: tokens('tw', 'o') }))!;

const edit = (
  document: OpenDocument,
  line: number,
  from: number,
  to: number,
  text: string,
  endLine = line,
): OpenDocument =>
  changeDocument(
    document,
    [{ range: { start: { line, character: from }, end: { line: endLine, character: to } }, text }],
    document.document.version + 1,
  );
const marked = ({ document, texts }: OpenDocument): string[] =>
  texts.flatMap(({ spans }) => spans.map(({ start, end }) => document.getText().slice(start, end)));

describe('generated text in a document', () => {
  it('keeps its place while the user edits around it', () => {
    let document = edit(attached(), 0, 0, 3, 'first line');
    expect(marked(document)).toEqual(['tw', 'o']);
    document = edit(document, 0, 10, 0, '\nmore\n', 1);
    expect(marked(document)).toEqual(['tw', 'o']);
    document = edit(document, 2, 3, 3, '!');
    expect(document.document.getText()).toBe('first line\nmore\ntwo!\nthree\n');
    expect(marked(document)).toEqual(['tw', 'o']);
    expect(document.texts[0]!.groups[0]!.anchor).toBe(16);
  });

  it('is forgotten once it is edited itself', () => {
    expect(edit(attached(), 1, 1, 1, 'x').texts).toEqual([]);
    expect(edit(attached(), 0, 3, 1, '', 1).texts).toEqual([]);
  });

  it('stays when its document is opened again as another language, and in no other case', () => {
    const again = (uri: string, language: string, version: number, text = 'one\ntwo\nthree\n') =>
      reopened(attached(), openDocument(uri, language, version, text));
    expect(marked(again('file:///a.ts', 'python', 1)!)).toEqual(['tw', 'o']);
    expect(again('file:///a.ts', 'python', 1)!.document.languageId).toBe('python');
    // What a trace file shows of itself is not another language's.
    const trace = openDocument('file:///a.exittrace', 'exittrace', 1, serialiseTrace(emptyTrace({ layers: 6 })));
    expect(trace.texts).toHaveLength(1);
    const text = trace.document.getText();
    expect(reopened(trace, openDocument('file:///a.exittrace', 'json', 1, text))!.texts).toEqual([]);
    expect(again('file:///a.ts', 'typescript', 1)).toBeNull();
    expect(again('file:///a.ts', 'python', 2)).toBeNull();
    expect(again('file:///b.ts', 'python', 1)).toBeNull();
    expect(again('file:///a.ts', 'python', 1, 'one\n')).toBeNull();
  });

  it('follows several changes of one edit in order', () => {
    const zero = { line: 0, character: 0 };
    const changes = [
      { range: { start: zero, end: zero }, text: 'ab' },
      { range: { start: zero, end: { line: 0, character: 1 } }, text: '' },
    ];
    expect(changeDocument(attached(), changes, 2).texts[0]!.span).toEqual({ start: 5, end: 8 });
  });

  it('survives a whole new text only where it reads the same', () => {
    expect(changeDocument(attached(), [{ text: 'ONE\ntwo' }], 2).texts).toHaveLength(1);
    expect(changeDocument(attached(), [{ text: 'ONE\n\ntwo' }], 2).texts).toHaveLength(0);
  });

  it('grows as it streams, and only right behind its own text', () => {
    const grown = edit(attached(), 1, 3, 3, '!\n');
    const more = emptyTrace({ layers: 6, tokens: tokens('!\n') });
    expect(marked(attach(grown, 'g', 0, more)!)).toEqual(['tw', 'o', '!\n']);
    expect(attach(attached(), 'g', 0, more)).toBeNull();
    expect(attach(open(), 'h', 5, emptyTrace({ tokens: tokens('two') }))).toBeNull();
    expect(detach(attached(), 'g').texts).toEqual([]);
  });
});

describe('a trace file', () => {
  it('says what is wrong and where', () => {
    const bad = openDocument('file:///x/a%20b.exittrace', 'exittrace', 1, 'exittrace 1\nlayers x\n');
    expect(bad.problem).toEqual({ line: 1, message: 'a b.exittrace, line 2: expected a number of layers.' });
    const good = edit(bad, 1, 0, 8, 'layers 3');
    expect(good.problem).toBeNull();
    expect(good.texts[0]!.trace.layers).toBe(3);
  });

  it('is read as a whole after any edit, though lines that stayed are not read again', () => {
    const next = random(3);
    const any = <T>(items: readonly T[]): T => items[Math.floor(next() * items.length)]!;
    const opinions = [{ exit: 'final', layer: 6, confidence: 0.5, token: null, candidates: [] }];
    const words = tokens('a', ' b', '\n', 'c', ' d', '\n').map((token) => ({ ...token, opinions }));
    let document = openDocument(
      'file:///a.exittrace',
      'exittrace',
      1,
      serialiseTrace(emptyTrace({ layers: 6, tokens: words })),
    );
    const counts = { read: 0, refused: 0 };
    for (let round = 0; round < 400; round++) {
      const lines = document.document.getText().split('\n');
      const line = Math.floor(next() * lines.length);
      const from = Math.floor(next() * 3);
      const pieces = [
        '',
        ' ',
        '\n',
        '3 3:mlp 1 7 "x"\n',
        '  | final 1 defer\n',
        'layers 12\n',
        'sequence 1 from 4\n',
        '"',
        '7',
      ];
      // Edits that break it are undone, as a user does.
      document = edit(document, line, 0, next() < 0.5 ? from : lines[line]!.length, any(pieces));
      const fresh = openDocument('file:///a.exittrace', 'exittrace', 1, document.document.getText());
      expect([document.texts, document.problem]).toEqual([fresh.texts, fresh.problem]);
      counts[document.problem ? 'refused' : 'read']++;
      if (document.problem) document = changeDocument(document, [{ text: lines.join('\n') }], round);
    }
    expect(Math.min(counts.read, counts.refused)).toBeGreaterThan(50);
  });

  it('is refused where it is so large that a keystroke would wait for it', () => {
    const text = `exittrace 1\n${'3 3:mlp 0.9 5 "a"\n'.repeat(120_000)}`;
    const large = openDocument('file:///a.exittrace', 'exittrace', 1, text);
    expect(large.texts).toEqual([]);
    expect(large.problem).toEqual({
      line: 0,
      message: expect.stringMatching(
        /^a.exittrace, line 1: the trace is too large .* \(2\.2 MB, at most 2\)/,
      ) as string,
    });
    expect(
      changeDocument(large, [{ text: text.slice(0, 1_000_000 + text.slice(1_000_000).indexOf('\n')) }], 2).problem,
    ).toBeNull();
  });

  it('may have an address that is no proper one', () => {
    expect(openDocument('file:///100%.exittrace', 'exittrace', 1, '').problem!.message).toMatch(
      /^100%.exittrace, line 1/,
    );
  });
});
