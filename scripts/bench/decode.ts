/** Decoding at full depth, beside llama.cpp on the same GGUF file. */
import path from 'node:path';
import { loadTokenizer } from '../../backend/data/tokenizer.ts';
import { decode } from '../../backend/decoding/decode.ts';
import { greedy } from '../../backend/decoding/sampler.ts';
import { openModel } from '../../backend/model/open.ts';
import { openStagedModel } from '../../backend/runtime/open.ts';
import type { StagedModel } from '../../backend/runtime/staged-model.ts';
import { alternate, compare, type Contender, type Result } from './harness.ts';
import { openLlama } from './llama.ts';
import type { Setting } from './main.ts';

const CONTEXTS = [64, 512];
const NEW_TOKENS = 64;

export async function benchDecode({ cache, model: file, rounds, threads, text }: Setting): Promise<Result[]> {
  const model = openModel(file);
  const ids = loadTokenizer(model.path).encode(text);
  const exact = await openStagedModel(model, undefined, { threads });
  const fast = await openStagedModel(model, undefined, { threads, arithmetic: 'int8' });
  const llama = file.endsWith('.gguf') ? await openLlama(path.join(cache, 'llama'), file, threads) : 'not a GGUF file';
  const results: Result[] = [];
  for (const context of CONTEXTS) {
    if (context + NEW_TOKENS > model.spec.contextLength) continue;
    const prompt = ids.slice(0, context);
    const contenders: Contender[] = [
      { name: 'exact', measure: () => speed(exact, prompt) },
      { name: 'fast arithmetic', measure: () => speed(fast, prompt) },
      ...(typeof llama === 'string' ? [] : [{ name: 'llama.cpp', measure: () => llama.decode(prompt, NEW_TOKENS) }]),
    ];
    const figures = await alternate(contenders, rounds, 'larger');
    results.push({
      benchmark: `decode-${context}`,
      title: `Decoding ${model.name} at full depth, ${context} tokens of context, ${threads} threads`,
      unit: 'tokens/s',
      figures,
      comparisons: [
        ...compare(figures, 'exact', 'llama.cpp', 1.2, 'larger'),
        ...compare(figures, 'fast arithmetic', 'llama.cpp', 1.2, 'larger'),
      ],
      notes: typeof llama === 'string' ? [`Without llama.cpp: ${llama}.`] : [],
    });
  }
  if (typeof llama !== 'string') await llama.close();
  await exact.dispose();
  await fast.dispose();
  model.close();
  return results;
}

/** Tokens a second after the first, greedy, end of text ignored. */
async function speed(model: StagedModel, prompt: readonly number[]): Promise<number> {
  const events = decode(model, {
    prompts: [prompt],
    maxTokens: NEW_TOKENS + 1,
    policy: { kind: 'confidence', threshold: () => 1 },
    enabled: () => false,
    sampling: greedy,
    seed: 1,
    endOfText: [],
    stopStrings: [],
    drafts: null,
    candidates: 0,
    codec: { tokenText: () => '', decoder: () => ({ push: () => '', flush: () => '' }) },
  });
  let [count, start] = [0, 0];
  for await (const event of events) {
    if (event.type !== 'token') continue;
    if (count++ === 0) start = performance.now();
  }
  return (1000 * (count - 1)) / (performance.now() - start);
}
