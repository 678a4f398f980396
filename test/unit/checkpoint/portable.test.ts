/** Where Windows names files: with drives, and backslashes that escape in globs alone. */
import type * as path from 'node:path';
import { expect, test, vi } from 'vitest';
import { readTuning, writtenTuning } from '../../../backend/checkpoint/portable.ts';

vi.mock('node:path', async () => {
  const { win32 } = await vi.importActual<typeof path>('node:path');
  return { ...win32, default: win32 };
});

vi.mock('../../../backend/system/installed.ts', () => ({ packageRoot: () => 'C:\\\\early-exit' }));

test('globs come back with their escaped signs, and what is on another drive with its path', () => {
  const run = {
    model: 'D:\\models\\a.gguf',
    data: ['C:\\w\\src', 'C:/w/\\[x\\]/**/*.ts', '!C:/w/src/gen/**', 'C:\\w\\src\\*.js', 'D:/texts/**/*.md'],
  };
  const written = writtenTuning('C:\\w\\my.exits', run);
  expect(written).toEqual({
    model: 'a.gguf',
    data: ['../src', '../\\[x\\]/**/*.ts', '!../src/gen/**', '../src/*.js', 'D:/texts/**/*.md'],
  });
  expect(readTuning('C:\\v\\my.exits', written)).toEqual({
    model: 'a.gguf',
    data: ['C:/v/src', 'C:/v/\\[x\\]/**/*.ts', '!C:/v/src/gen/**', 'C:/v/src/*.js', 'D:/texts/**/*.md'],
  });
});
