import { describe, expect, it } from 'vitest';
import { measurement } from '../../bench/measure.ts';
import { figures, resultsPage, textsOf, type Part, type SectionResult } from '../../bench/report.ts';

const section = (value: number, others = 0.01): SectionResult => ({
  title: 'Decoding',
  parts: { 'model.gguf': part(value, others) },
});

const part = (value: number, others: number): Part => ({
  machine: { processor: 'CPU', cores: 2, memory: 24, system: 'Linux x64', node: '20.1.0' },
  date: '2025-01-31',
  seconds: 200,
  others,
  goals: [{ what: 'speed', value, unit: '×', bound: 'at least', limit: 1.2, reach: 1.6 }],
  tables: [{ caption: 'Speed', columns: ['context', 'ratio'], rows: [['64', '1.30 (1.25)']] }],
  notes: ['Greedy.'],
  measurements: [measurement('a', [1])],
});

describe('the page of results', () => {
  it('has goals, machines, tables and places for text', () => {
    const page = resultsPage({ decode: section(1.3) }, ['decode', 'step'], '');
    expect(page).toContain('| speed | at least 1.20× (reach for 1.60×) | 1.30× | yes | decode |');
    expect(page).toContain(
      '`npm run bench -- decode` · 2025-01-31 · CPU, 2 cores, 24 GB, Linux x64, Node 20.1.0 · took 3 min',
    );
    expect(page).toContain('| context | ratio |\n| :-- | --: |\n| 64 | 1.30 (1.25) |');
    expect(resultsPage({ decode: section(1.1) }, ['decode'], '')).toContain('| 1.10× | **no** |');
  });

  it('keeps what was written by hand, also where its section is gone', () => {
    const first = resultsPage({ decode: section(1.3) }, ['decode'], '');
    const written = first
      .replace('<!-- text decode -->\n', '<!-- text decode -->\n\nTwo *lines*\n\nof text.\n\n')
      .concat('\n<!-- text old -->\n\nA remark.\n\n<!-- /text -->\n');
    const again = resultsPage({ decode: section(1.5) }, ['decode'], written);
    expect(textsOf(again).get('decode')).toBe('Two *lines*\n\nof text.');
    expect(textsOf(again).get('old')).toBe('A remark.');
    expect(again).toContain('1.50×');
    expect(resultsPage({ decode: section(1.5) }, ['decode'], again)).toBe(again);
  });

  it('has every model of a section, and what they share once', () => {
    const parts = { one: part(1.3, 0), two: part(1.4, 0) };
    const page = resultsPage({ decode: { title: 'Decoding', parts } }, ['decode'], '');
    expect(page).toContain('| 1.30× | yes | decode |');
    expect(page).toContain('| 1.40× | yes | decode |');
    expect(page.split('- Greedy.').length).toBe(2);
  });

  it('says where the machine was busy', () => {
    const page = (others: number): string => resultsPage({ decode: section(1.3, others) }, ['decode'], '');
    expect(page(0.02)).not.toContain('Not to be relied on');
    expect(page(0.4)).toContain('other work took 40 % of the processors');
  });

  it('shows three digits', () => {
    expect([0.123, 1.234, 12.34, 1234.5].map(figures)).toEqual(['0.12', '1.23', '12.3', '1235']);
  });
});
