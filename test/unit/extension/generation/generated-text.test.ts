import { describe, expect, it } from 'vitest';
import {
  afterEdit,
  carried,
  shadeSpans,
  tokenIndexAt,
  tokenSpan,
  type GeneratedText,
} from '../../../../extension/generation/generated-text.ts';
import { emptyTrace } from '../../../../protocol/exittrace.ts';
import type { TokenRecord } from '../../../../protocol/trace.ts';

const token = (index: number, text: string, layer: number): TokenRecord => ({
  sequence: 0,
  index,
  id: index,
  text,
  layer,
  exit: layer === 12 ? 'final' : `${layer}:mlp`,
  confidence: 1,
});
const tokens = [token(0, 'ab', 2), token(1, '', 4), token(2, '\nc', 12)];
const generated: GeneratedText = {
  id: 'g',
  uri: 'file:///a',
  lineEnd: '\r\n',
  span: { start: 10, end: 15 },
  trace: emptyTrace({ layers: 12, exits: ['2:mlp', '4:mlp', 'final'], tokens }),
};

describe('generated text', () => {
  it('has a shade for each token, with the line ends of its document, and none without exits', () => {
    expect(shadeSpans(generated)).toEqual([
      { shade: 'exit1', span: { start: 10, end: 12 } },
      { shade: 'final', span: { start: 12, end: 15 } },
    ]);
    expect(shadeSpans({ ...generated, trace: { ...generated.trace, exits: ['final'] } })).toEqual([]);
    expect(tokenSpan(generated, 2)).toEqual({ start: 12, end: 15 });
    expect([9, 10, 12, 14, 15].map((offset) => tokenIndexAt(generated, offset))).toEqual([-1, 0, 2, 2, -1]);
  });

  it('goes along into a document with its text, where it was or at the only place that has it', () => {
    expect(carried(generated, 'function \nab\r\nc }\n')).toBe(generated);
    expect(carried(generated, '// a\nfunction \nab\r\nc }')?.span).toEqual({ start: 15, end: 20 });
    expect(carried(generated, 'ab\r\nc ab\r\nc')).toBeNull();
    expect(carried(generated, '')).toBeNull();
    const blank = { ...generated, trace: emptyTrace({ tokens: [token(0, ' ', 2)] }) };
    expect(carried(blank, 'function \n ')).toBeNull();
  });

  it('grows by its own next text only, even from nothing', () => {
    const empty = { ...generated, span: { start: 10, end: 10 }, trace: emptyTrace() };
    const own = { offset: 10, removed: 0, inserted: 2, text: 'ab' };
    expect(afterEdit(empty, own, 'ab')?.span).toEqual({ start: 10, end: 12 });
    expect(afterEdit(empty, own, null)?.span).toEqual({ start: 12, end: 12 });
    expect(afterEdit(generated, { ...own, offset: 15 }, 'xy')?.span).toEqual({ start: 10, end: 15 });
    expect(afterEdit(generated, { ...own, offset: 15 }, 'ab')?.span).toEqual({ start: 10, end: 17 });
    expect(afterEdit(generated, { ...own, offset: 12 }, 'ab')).toBeNull();
  });
});
