/** The trial itself: its runner, its mutations, its judge. A small part of each kind is in small.test.ts. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { judge, problemOf } from '../../trial/judge.ts';
import { damageBytes } from '../../trial/mutations/bytes.ts';
import { readEntries, stringEntry, writeEntries } from '../../trial/mutations/gguf.ts';
import { targets } from '../../trial/mutations/targets.ts';
import { type Ended } from '../../trial/program.ts';
import { tryKind } from '../../trial/runner.ts';
import { bundled } from '../../support/bundled.ts';
import { failed, held, randomOf, type Kind } from '../../trial/trial.ts';

const cache = mkdtempSync(path.join(os.tmpdir(), 'early-exit-trial-'));
afterAll(() => rmSync(cache, { recursive: true, force: true }));
const settings = { program: [bundled('cli')], cache, seed: 7, deadline: Infinity, onFailure: () => {} };

describe('the runner', () => {
  const kind = (verdicts: readonly (() => ReturnType<typeof failed>)[]): Kind => ({
    name: 'made-up',
    tries: '',
    promise: '',
    attempts: verdicts.length,
    inTests: 0,
    lanes: 2,
    open: () => Promise.resolve({ attempt: async ({ index }) => verdicts[index]!(), close: async () => {} }),
  });

  it('counts what held, and keeps what failed or broke', async () => {
    const broken = (): never => {
      throw new Error('of no use');
    };
    const verdicts = [() => held, () => failed('it fell'), broken, () => held];
    const tried = await tryKind(kind(verdicts), { ...settings, indices: [0, 1, 2, 3] });
    expect(tried.held).toBe(2);
    expect(tried.failures.map(({ index, why }) => [index, why]).sort()).toEqual([
      [1, 'it fell'],
      [2, 'the trial broke: Error: of no use'],
    ]);
    for (const { kept, why } of tried.failures)
      expect(readFileSync(path.join(kept, 'why.txt'), 'utf8')).toBe(`${why}\n`);
  });

  it('begins nothing after the deadline', async () => {
    const tried = await tryKind(kind([() => held]), { ...settings, deadline: 0, indices: [0] });
    expect(tried).toMatchObject({ held: 0, failures: [], skipped: {} });
  });
});

describe('mutations', () => {
  it('are functions of the bytes and the numbers alone', () => {
    const bytes = readFileSync('test/fixtures/golden/gguf/llama-q4_0.gguf');
    const before = Buffer.from(bytes);
    for (let index = 0; index < 200; index++) {
      const [once, again] = [0, 1].map(() => damageBytes(bytes, randomOf(1, 'x', index)));
      expect(once!.equals(again!)).toBe(true);
    }
    expect(bytes.equals(before)).toBe(true);
    expect(new Set(targets.map(({ name }) => name)).size).toBe(targets.length);
  });

  it('take GGUF metadata apart and put it together', () => {
    const bytes = readFileSync('test/fixtures/golden/gguf/llama-q4_0.gguf');
    const parts = readEntries(bytes);
    expect(writeEntries(parts).equals(bytes)).toBe(true);
    for (const text of ['', 'x', 'of another length']) {
      const longer = writeEntries({ ...parts, entries: [...parts.entries, stringEntry('a', text)] });
      expect(readEntries(longer).entries.slice(0, parts.entries.length)).toEqual(parts.entries);
      expect((longer.length - bytes.length) % 32).toBe(0);
    }
  });
});

describe('the judge', () => {
  const ended = (more: Partial<Ended> = {}): Ended => ({
    code: 0,
    signal: null,
    out: '',
    err: '',
    seconds: 1,
    peak: 0,
    late: false,
    orphans: 0,
    ...more,
  });

  it('lets orderly ends pass', () => {
    expect(judge(ended())).toEqual(held);
    expect(judge(ended({ code: 130, err: 'Stopping; Ctrl-C again ends at once.\n' }))).toEqual(held);
    expect(judge(ended({ code: 2, err: 'error --threads must be a number.\n' }))).toEqual(held);
  });

  it.each<[string, Partial<Ended>]>([
    ['a crash', { code: null, signal: 'SIGABRT' }],
    ['another code', { code: 134 }],
    ['no sentence', { code: 1 }],
    ['two sentences', { code: 1, err: 'error a\nerror b\n' }],
    ['a stack', { code: 1, err: 'error a\n    at f (file.ts:1:2)\n' }],
    ['a stack though all went well', { err: 'x\n    at f (file.ts:1:2)\n' }],
    ['words of the machinery', { code: 1, err: "error Cannot read properties of undefined (reading 'x')\n" }],
    ['escapes', { code: 1, err: 'error There is no \u001b[2J.\n' }],
    ['a hang', { code: null, signal: 'SIGKILL', late: true }],
    ['processes left behind', { orphans: 1 }],
    ['much memory', { peak: 2 ** 32 }],
  ])('refuses %s', (_, more) => expect(judge(ended(more)).verdict).toBe('failed'));

  it('knows a sentence from what the machinery says', () => {
    expect(problemOf('a.gguf has no config.json. Give a Hugging Face directory.')).toBeNull();
    expect(problemOf('fetch failed: items is not iterable.')).not.toBeNull();
    expect(problemOf('')).not.toBeNull();
  });
});
