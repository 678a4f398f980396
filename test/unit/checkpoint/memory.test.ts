/** Memories beside a checkpoint: they come back as they were, may be absent, and are refused if they fit no model. */
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { readMemories, readMemoryErrors, writeMemories } from '../../../backend/checkpoint/memory.ts';
import { memoryFile } from '../../../backend/formats/our-folders.ts';
import { copiedMemory, damageBy } from '../../../backend/exits/memory.ts';
import type { ExitSpec } from '../../../backend/exits/spec.ts';
import { withoutMemory } from '../../../backend/recipes/opening/opened.ts';
import { tinyModel } from '../../support/models.ts';

const model = tinyModel();
const { spec } = model;
const exits: ExitSpec[] = [{ layer: 2, architecture: 'lens', head: { kind: 'shared' } }];
const cut = { layer: 2, at: 'end' } as const;
const trust = Float32Array.from({ length: spec.hidden + 1 }, (_, i) => i);
const copy = { ...copiedMemory(spec, model.parameters, cut), errors: null, trust };
let directory: string;

beforeAll(() => {
  directory = fs.mkdtempSync(path.join(os.tmpdir(), 'memories-'));
});
afterAll(() => {
  fs.rmSync(directory, { recursive: true, force: true });
  model.close();
});

test('exits of earlier versions have none, and say so', () => {
  expect(readMemories(directory, spec, exits).size).toBe(0);
  expect(withoutMemory('my.exits', { remembers: false })).toContain('have no memory');
  expect(withoutMemory('my.exits', { remembers: true })).toBeNull();
});

test('what was written is read', () => {
  writeMemories(directory, spec, new Map([['2.end', copy]]));
  const memories = readMemories(directory, spec, exits);
  expect(memories.get('memory.2.end.weight')!.data).toEqual(copy.weight);
  expect(memories.get('memory.2.end.bias')!.data).toEqual(copy.bias);
  expect(memories.get('trust.2.end')!.data).toEqual(trust);
});

test('its errors are read, and tell what later tokens lose; without errors that can be read nothing is expected', () => {
  const share = { keys: 0.2, values: 0.4 };
  writeMemories(directory, spec, new Map([['2.end', { ...copy, errors: { copied: share, fitted: share } }]]));
  const errors = readMemoryErrors(directory).get('2.end')!;
  expect(errors.fitted).toEqual(share);
  expect(damageBy(spec, cut, errors)).toBeCloseTo(0.005 * (spec.layers.length - 2) * 0.3, 9);
  writeMemories(directory, spec, new Map([['2.end', copy]]));
  expect(readMemoryErrors(directory).size).toBe(0);
  const odd = { copied: share, fitted: { keys: '0.2', values: NaN } } as unknown as typeof copy.errors;
  writeMemories(directory, spec, new Map([['2.end', { ...copy, errors: odd }]]));
  expect(readMemoryErrors(directory).size).toBe(0);
});

test('a memory of another shape is refused in one sentence', () => {
  const half = { weight: copy.weight.slice(copy.weight.length / 2), bias: copy.bias.slice(copy.bias.length / 2) };
  writeMemories(directory, spec, new Map([['2.end', { ...half, errors: null, trust: null }]]));
  expect(() => readMemories(directory, spec, exits)).toThrow(/the memory at 2\.end has the shape \[\d+, \d+\], but/);
});

test('an earlier version wrote no trust; one of another shape is refused', () => {
  writeMemories(directory, spec, new Map([['2.end', { ...copy, trust: null }]]));
  expect(readMemories(directory, spec, exits).has('trust.2.end')).toBe(false);
  writeMemories(directory, spec, new Map([['2.end', { ...copy, trust: trust.slice(1) }]]));
  expect(() => readMemories(directory, spec, exits)).toThrow(/trust\.2\.end does not have the shape/);
});

test('a damaged one is refused, too', () => {
  const broken = { ...copy, bias: copy.bias.map((value, i) => (i === 3 ? NaN : value)) };
  writeMemories(directory, spec, new Map([['2.end', broken]]));
  expect(() => readMemories(directory, spec, exits)).toThrow(/not finite/);
  fs.writeFileSync(path.join(directory, memoryFile), 'nothing');
  expect(() => readMemories(directory, spec, exits)).toThrow();
});
