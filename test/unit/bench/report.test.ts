import { readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { measurement } from '../../bench/measure.ts';
import { answers } from '../../bench/questions.ts';
import { figures, readResults, resultsPage, withPart, type Part, type SectionResult } from '../../bench/report.ts';
import { merged } from '../../bench/sections/section.ts';

const section = (value: number, others = 0.01): SectionResult => ({
  title: 'Decoding',
  parts: [part(value, others)],
});

const part = (value: number, others: number, model = 'model.gguf'): Part => ({
  model,
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
  it('answers a question with a table, its machine and how it was measured', () => {
    const page = resultsPage({ memory: section(1.3) });
    expect(page).toContain('## How much memory does tuning take?');
    expect(page).toContain('| model | context | ratio |\n| :-- | --: | --: |\n| model.gguf | 64 | 1.30 (1.25) |');
    expect(page).toContain('_`npm run bench -- memory`. CPU, 2 cores, 24 GB, Linux x64, Node 20.1.0, 2025-01-31._');
    expect(page).toContain('- Greedy.');
    expect(page).toContain('| speed | at least 1.20× (reach for 1.60×) | 1.30× | yes | memory | CPU |');
    expect(resultsPage({ memory: section(1.1) })).toContain('| 1.10× | **no** |');
  });

  it('says where figures are processor time, which other work leaves alone', () => {
    const busy = { ...part(1.3, 0.9), clock: 'processor' as const };
    const page = resultsPage({ memory: { title: 'Memory', parts: [busy] } });
    expect(page).toContain('2025-01-31; processor time of one thread, since other work took 90 % of the processors._');
    expect(resultsPage({ memory: section(1.3, 0.9) })).toContain('**Not to be relied on: other work took 90 %');
  });

  it('keeps a section that was not requested', () => {
    expect(resultsPage({ new: section(1.3) })).toContain('## Decoding\n\n| model | context | ratio |');
  });

  it('has every model of a section in one table, and what they share once', () => {
    const elsewhere = { ...part(1.4, 0), machine: { ...part(1, 0).machine, processor: 'Other' } };
    const parts = [
      part(1.3, 0, 'one'),
      { ...elsewhere, model: 'two', tables: [{ ...elsewhere.tables[0]!, caption: 'two: Speed' }] },
    ];
    const page = resultsPage({ memory: { title: 'Memory', parts } });
    expect(page).toContain('| one | 64 | 1.30 (1.25) |\n| two | 64 | 1.30 (1.25) |');
    expect(page).toMatch(/one: CPU, .*two: Other, /);
    expect(page.split('- Greedy.').length).toBe(2);
  });

  it('has a row for each processor that a model was measured on, and the newest of each', () => {
    const elsewhere = (ratio: number): Part => ({
      ...part(ratio, 0),
      machine: { ...part(1, 0).machine, processor: 'Other' },
    });
    const found = [part(1.3, 0), part(1, 0, 'b'), elsewhere(1.1), elsewhere(1.4)];
    const parts = found.reduce<Part[]>(withPart, []);
    expect(parts.map(({ model, goals }) => [model, goals[0]!.value])).toEqual([
      ['model.gguf', 1.3],
      ['model.gguf', 1.4],
      ['b', 1],
    ]);
    const page = resultsPage({ memory: { title: 'Memory', parts } });
    expect(page).toContain(
      '| model.gguf, CPU | 64 | 1.30 (1.25) |\n| model.gguf, Other | 64 | 1.30 (1.25) |\n| b | 64 |',
    );
    expect(page).toContain('| 1.40× | yes | memory | Other |');
  });

  it('keeps what the first tasks alone gave beside what all gave, and says which it was', () => {
    const some = (value: number): Part => ({ ...part(value, 0), first: 150, date: '2025-02-01' });
    const parts = [part(1.3, 0), some(1.1), some(1.2), part(1.4, 0)].reduce<Part[]>(withPart, []);
    expect(parts.map(({ goals }) => goals[0]!.value)).toEqual([1.4, 1.2]);
    const page = resultsPage({ memory: { title: 'Memory', parts } });
    expect(page).toMatch(/`\. model\.gguf: CPU, .* model\.gguf \(first 150 tasks\): CPU, .*2025-02-01\._/);
  });

  it('has one table of what was measured at several lengths', () => {
    const found = merged([part(1.3, 0), part(1.4, 0)]);
    expect(found.tables).toEqual([{ ...part(1, 0).tables[0]!, rows: Array(2).fill(['64', '1.30 (1.25)']) }]);
    expect(found.goals.map(({ value }) => value)).toEqual([1.3, 1.4]);
  });

  it('says where the machine was busy', () => {
    const page = (others: number): string => resultsPage({ memory: section(1.3, others) });
    expect(page(0.02)).not.toContain('Not to be relied on');
    expect(page(0.4)).toContain('other work took 40 % of the processors');
  });

  it('is what docs/results says', () => {
    const docs = path.resolve(import.meta.dirname, '../../../docs');
    const page = readFileSync(path.join(docs, 'results.md'), 'utf8');
    expect(page).toBe(resultsPage(readResults(docs)));
    expect(page).not.toMatch(/\| (\| )+\n/);
  });
});

describe('answers', () => {
  const table = {
    caption: 'a: ways',
    columns: ['', 'speed', 'loss'],
    rows: [
      ['full', '1', '2'],
      ['fast', '3', '4'],
    ],
  };
  const ways: SectionResult = {
    title: 'Ways',
    parts: [{ ...part(1, 0, 'a'), tables: [table, { ...table, caption: 'a: others' }] }],
  };

  it('takes the tables, rows and columns that are asked for', () => {
    const question = { question: '?', section: 'x', tables: /^ways/, columns: ['', 'loss', 'memory'], rows: /^fast$/ };
    expect(answers(question, ways)).toEqual([
      { caption: 'ways', columns: ['model', '', 'loss', 'memory'], rows: [['a', 'fast', '4', '']] },
    ]);
  });
});

describe('a figure', () => {
  it('shows three digits', () => {
    expect([0.123, 1.234, 12.34, 1234.5].map(figures)).toEqual(['0.12', '1.23', '12.3', '1235']);
  });
});
