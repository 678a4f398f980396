/**
 * Samples by which a machine checks that its model is this one, without reading all of it; see
 * `distributed/early_exit_distributed/model_files.py`.
 */
import { createHash } from 'node:crypto';
import { closeSync, fstatSync, readSync } from 'node:fs';
import path from 'node:path';
import { fileError, openRegular } from '../system/files.ts';

export interface FileSample {
  readonly bytes: number;
  /** Of the first, the middle and the last megabyte. */
  readonly sha256: string;
}

const sampleBytes = 2 ** 20;

/** Samples of weight files, by name. @throws UserError if one cannot be read. */
export const sampleFiles = (files: readonly string[]): Record<string, FileSample> =>
  Object.fromEntries(files.map((file) => [path.basename(file), sampleOf(file)]));

function sampleOf(file: string): FileSample {
  let descriptor: number | null = null;
  try {
    descriptor = openRegular(file);
    const { size } = fstatSync(descriptor);
    const hash = createHash('sha256');
    for (const start of [0, Math.floor(size / 2) - sampleBytes / 2, size - sampleBytes]) {
      const buffer = Buffer.alloc(sampleBytes);
      hash.update(buffer.subarray(0, readSync(descriptor, buffer, 0, sampleBytes, Math.max(0, start))));
    }
    return { bytes: size, sha256: hash.digest('hex') };
  } catch (error) {
    throw fileError(error, 'read', file);
  } finally {
    if (descriptor !== null) closeSync(descriptor);
  }
}
