/**
 * Writes the tokens that llama.cpp says greedily behind the golden prompts, to which `test/golden/decode.test.ts` holds precision
 * `fast`: `npx tsx test/bench/llama-tokens.ts MODEL.gguf GOLDEN.json OUT.json`.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { installLlama, llamaLibrary, llamaVersion } from './contestants/llama.ts';

interface Golden {
  readonly prompts: Readonly<Record<string, { readonly ids: readonly number[] }>>;
}

/** What is called of node-llama-cpp, which is installed for the bench alone. */
interface Llama {
  getLlama(options: object): Promise<{
    loadModel(options: { modelPath: string; gpuLayers: 0 }): Promise<{
      createContext(options: { contextSize: number; threads: number; flashAttention: boolean }): Promise<{
        getSequence(): {
          clearHistory(): Promise<void>;
          evaluate(ids: readonly number[], options: object): AsyncGenerator<number>;
        };
      }>;
    }>;
  }>;
}

const count = 32;
const [model, golden, out] = process.argv.slice(2);
if (!model || !golden || !out) throw new Error('give a model, the golden prompts and where to write');
if (!(await installLlama())) process.exit(1);
const module = (await import(pathToFileURL(llamaLibrary).href)) as Llama;
const llama = await module.getLlama({ gpu: false, build: 'never', progressLogs: false, maxThreads: 1 });
const loaded = await llama.loadModel({ modelPath: path.resolve(model), gpuLayers: 0 });
const sequence = (await loaded.createContext({ contextSize: 512, threads: 1, flashAttention: true })).getSequence();
const { prompts } = JSON.parse(readFileSync(golden, 'utf8')) as Golden;
const tokens: Record<string, number[]> = {};
for (const [name, { ids }] of Object.entries(prompts)) {
  await sequence.clearHistory();
  const said: number[] = (tokens[name] = []);
  for await (const token of sequence.evaluate(ids, { temperature: 0, yieldEogToken: true })) {
    said.push(token);
    if (said.length === count) break;
  }
}
writeFileSync(out, `${JSON.stringify({ engine: `node-llama-cpp ${llamaVersion}, CPU`, tokens })}\n`);
process.exit(0);
