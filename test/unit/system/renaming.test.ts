/** Renaming on Windows, where a virus scanner may have a new file open. */
import type * as nodeFs from 'node:fs';
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, test, vi } from 'vitest';
import { renameFile } from '../../../backend/system/files.ts';

const scanner = vi.hoisted(() => ({ looks: 0, code: 'EPERM' }));
vi.mock('node:fs', async (original) => {
  const fs = await original<typeof nodeFs>();
  const renameSync = (from: string, to: string): void => {
    if (scanner.looks-- > 0) throw Object.assign(new Error('rename'), { code: scanner.code });
    fs.renameSync(from, to);
  };
  return { ...fs, renameSync };
});

afterEach(() => void vi.unstubAllGlobals());

function rename(platform: NodeJS.Platform, looks: number, code = 'EPERM'): string {
  const folder = mkdtempSync(join(tmpdir(), 'early-exit-renaming-'));
  const [from, to] = [join(folder, 'new'), join(folder, 'old')];
  writeFileSync(from, 'new');
  writeFileSync(to, 'old');
  vi.stubGlobal('process', Object.create(process, { platform: { value: platform } }));
  Object.assign(scanner, { looks, code });
  try {
    renameFile(from, to);
  } catch {
    return `${readFileSync(to, 'utf8')}, not renamed`;
  }
  return readFileSync(to, 'utf8');
}

test.each([
  ['win32', 3, 'EPERM', 'new'],
  ['win32', 3, 'EBUSY', 'new'],
  ['win32', 100, 'EACCES', 'old, not renamed'],
  ['win32', 1, 'ENOSPC', 'old, not renamed'],
  ['linux', 1, 'EPERM', 'old, not renamed'],
] as const)('on %s, after %d times %s: %s', (platform, looks, code, result) => {
  expect(rename(platform, looks, code)).toBe(result);
});
