/** Transformers loads what export writes, and says what the exit says (skipped where no Python with torch and transformers is here). */
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { loadTokenizer } from '../../../backend/data/tokenizer/tokenizer.ts';
import { maxDifference } from '../../support/golden.ts';
import { pythonWith, runPython } from '../../support/python.ts';
import { golden, ids, named, withTokenizer, written } from './written.ts';

/** Of a model folder. */
interface Found {
  readonly logits: readonly number[];
  readonly next: number;
  readonly layers: number;
  readonly encoded?: readonly number[][];
  readonly template?: string | null;
}

const python = pythonWith('torch', 'transformers');
const texts = ['const x = 10;\n', "it's", '  return `${a}`;', 'naïve 你好'];
const tiny = (family: string): string => join(golden, 'tiny', family);
const exits = named.filter(([name]) => /^2:(lens|mlp|norm, own)|^1:layer/.test(name)).map(([, exit]) => exit);

test.skipIf(python === null)(
  'each kind of exit has its logits in Transformers, of a directory and of a GGUF file',
  async () => {
    const models = [tiny('llama-tied'), tiny('qwen2'), join(golden, 'gguf', 'llama-q8_0.gguf')];
    const asked = models.flatMap((path) =>
      exits
        .filter(({ layer, architecture }) => !path.endsWith('.gguf') || layer + Number(architecture === 'layer') <= 2)
        .map((exit) => ({ path, exit })),
    );
    const all = [];
    for (const { path, exit } of asked) all.push({ path, exit, ...(await written(path, exit, 'hf')) });
    const withTexts = withTokenizer(tiny('llama-untied'));
    const there = await written(withTexts, exits[0]!, 'gguf');
    const back = await written(there.file, exits[0]!, 'hf');
    const questions = [
      ...all.map(({ directory }) => ({ folder: directory, ids, texts: [] as string[] })),
      { folder: back.directory, ids, texts },
    ];
    // Importing torch takes seconds: once for all.
    const found = runPython<Found[]>(python!, 'transformers_reads.py', [JSON.stringify(questions)]);
    for (const [i, { path, exit, expected }] of all.entries()) {
      const { logits, next, layers } = found[i]!;
      const last = expected.slice(-expected.length / ids.length);
      expect([path, layers]).toEqual([path, exit.layer + (exit.architecture === 'layer' ? 1 : 0)]);
      expect([path, maxDifference(Float32Array.from(logits), expected) < 1e-3]).toEqual([path, true]);
      expect(next).toBe(last.indexOf(Math.max(...last)));
    }
    const tokenizer = loadTokenizer(withTexts);
    expect(found.at(-1)!.encoded).toEqual(texts.map((text) => tokenizer.encode(text)));
    expect(found.at(-1)!.template).toBe('{{ messages[0].content }}');
  },
  180_000,
);
