/** A small part of each kind of trial, on the program as this run of tests has bundled it. */
import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { kinds } from '../../trial/kinds.ts';
import { tryKind } from '../../trial/runner.ts';
import { bundled } from '../../support/bundled.ts';

const cache = mkdtempSync(path.join(os.tmpdir(), 'early-exit-trial-'));
afterAll(() => rmSync(cache, { recursive: true, force: true }));
const settings = { program: [bundled('cli')], cache, seed: 7, deadline: Infinity, onFailure: () => {} };

describe('a small part of the trial', () => {
  it.each(kinds.filter(({ inTests }) => inTests > 0))(
    '$name',
    async (kind) => {
      const {
        failures,
        held: heldCount,
        skipped,
      } = await tryKind(kind, { ...settings, indices: [...Array(kind.inTests).keys()] });
      expect(failures.map(({ index, why }) => `${index}: ${why}`)).toEqual([]);
      const skips = Object.values(skipped).reduce((sum, count) => sum + count, 0);
      expect(heldCount + skips).toBe(kind.inTests);
    },
    240_000,
  );
});
