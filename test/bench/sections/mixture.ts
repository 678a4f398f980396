/** A mixture of experts of a real one's shape at full depth, beside llama.cpp: a token's time, and memory beside the file. */
import { mkdirSync, rmSync, statSync } from 'node:fs';
import path from 'node:path';
import { childDecoder, type Decoder } from '../contestants/decoder.ts';
import { installLlama, llamaChild, llamaVersion } from '../contestants/llama.ts';
import { ourChild } from '../contestants/our-process.ts';
import { madeUpShape, writeMadeUpModel } from '../made-up.ts';
import { fetchedModels } from '../material.ts';
import { alternate, measurement, speedup } from '../measure.ts';
import { both, milliseconds, rate, type Findings, type Goal } from '../report.ts';
import { named, progress, type BenchOptions, type Section } from './section.ts';

export const mixtureSection: Section = {
  title: 'A mixture of experts',
  takes: 'about three minutes, and 3 GB of disk and twice that of memory meanwhile',
  clocks: true,
  each: 'once',
  run: measure,
};

const context = 64;
const tokensBeside = 32;

async function measure({ rounds, threads, clock }: BenchOptions): Promise<Findings> {
  const file = path.join(fetchedModels, 'made-up-mixture.gguf');
  mkdirSync(fetchedModels, { recursive: true });
  writeMadeUpModel(file);
  const decoders = new Map<string, Decoder>();
  try {
    const ours = ourChild(clock);
    decoders.set('fast', childDecoder(ours));
    await ours.ask({ type: 'open', model: file, threads, exits: [] });
    if (await installLlama()) {
      const llama = await llamaChild(clock);
      decoders.set('llama.cpp', childDecoder(llama));
      await llama.ask({ type: 'open', model: file, threads, contextSize: 512 });
    }
    const prompt = Array.from({ length: context }, (_, i) => 1000 + 7 * i);
    const contestants = [...decoders].map(([name, decoder]) => ({
      name,
      turn: async () => ({
        [`${name} prompt`]: await decoder.start([prompt]),
        [name]: await decoder.pull(tokensBeside),
      }),
    }));
    const measured = await alternate(contestants, rounds, progress('made-up mixture', rounds));
    const memory = measurement('resident bytes', [await ours.ask({ type: 'memory' })]);
    const [fast, llama] = [measured.get('fast')!, measured.get('llama.cpp')];
    const atMost: Goal = {
      what: 'resident memory ÷ the file, made-up mixture',
      value: memory.median / statSync(file).size,
      unit: '×',
      bound: 'at most',
      limit: 1.05,
    };
    const beside: Goal[] = llama
      ? [
          {
            what: `speed of a token at full depth ÷ llama.cpp, made-up mixture, ${context} tokens of context`,
            value: speedup(fast, llama).median,
            unit: '×',
            bound: 'at least',
            limit: 0.98,
          },
        ]
      : [];
    return {
      goals: [...beside, atMost],
      tables: [
        {
          caption: `made-up mixture: next tokens at ${context} tokens of context`,
          columns: ['', 'tokens/s', 'ms', ...(llama ? ['fast ÷ llama.cpp'] : [])],
          rows: [...decoders.keys()].map((name) => {
            const one = measured.get(name)!;
            const ratio = llama ? [name === 'fast' ? both(speedup(fast, llama)) : ''] : [];
            return [name, rate(one, tokensBeside), milliseconds(one, tokensBeside), ...ratio];
          }),
        },
      ],
      notes: [
        `The shape of Qwen3-Coder-30B-A3B cut to ${madeUpShape.layers} layers (${madeUpShape.experts} experts, ${madeUpShape.chosen} a token), in random Q4_K blocks; ${threads} threads, ${rounds} rounds in turns, a sample is ${tokensBeside} tokens. llama.cpp is node-llama-cpp ${llamaVersion}. The file is deleted afterwards.`,
      ],
      measurements: [...named(`made-up mixture ${context}`, measured), memory],
    };
  } finally {
    for (const decoder of decoders.values()) await decoder.dispose();
    rmSync(file, { force: true });
  }
}
