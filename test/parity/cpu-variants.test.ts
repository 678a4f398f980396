/** A token has the same bits in every pass with each of ggml's libraries for a CPU that this processor can run. */
import { execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { libraryFolder } from '../../backend/ggml/packages.ts';
import { bundled } from '../support/bundled.ts';

const folder = libraryFolder();
const variants = folder === null ? [] : readdirSync(folder).filter((file) => /ggml-cpu.*\.(so|dylib|dll)$/.test(file));
const models = ['q4_0', 'q4_1', 'q5_0', 'q8_0', 'q4_k', 'q6_k', 'mixed', 'f16', 'bf16'];
const files = [...models.map((type) => `gguf/llama-${type}.gguf`), 'tiny/qwen3'];

/** That ran here; the others are for other processors. */
const ran: string[] = [];

test.each(variants)(
  '%s',
  (variant) => {
    const words = [bundled('cpu-variants-child'), join(folder!, variant), ...files];
    const output = execFileSync(process.execPath, words, { encoding: 'utf8' });
    const answer = JSON.parse(output) as Record<string, string[]> | null;
    // Null: for another processor.
    if (answer !== null) ran.push(variant);
    expect(answer ?? {}).toEqual({});
  },
  180_000,
);

test.skipIf(folder === null)('a library ran', () => expect(ran.length).toBeGreaterThan(0));
