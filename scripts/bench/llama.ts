/** llama.cpp through its Node binding, installed for the benchmark alone. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

const PACKAGE = 'node-llama-cpp@3';

/** The part of the binding's interface that is used here. */
interface Binding {
  getLlama(options: object): Promise<{
    loadModel(options: { modelPath: string }): Promise<{
      createContext(options: object): Promise<{
        getSequence(): {
          clearHistory(): Promise<void>;
          evaluate(tokens: readonly number[], options: object): AsyncGenerator<number, undefined>;
        };
      }>;
    }>;
    dispose(): Promise<void>;
  }>;
}

export interface Llama {
  /** Tokens a second, prompt excluded. */
  decode(prompt: readonly number[], tokens: number): Promise<number>;
  close(): Promise<void>;
}

/** Null with the reason where it cannot be installed or loaded. */
export async function openLlama(folder: string, model: string, threads: number): Promise<Llama | string> {
  const entry = path.join(folder, 'node_modules/node-llama-cpp/dist/index.js');
  if (!existsSync(entry)) {
    mkdirSync(folder, { recursive: true });
    writeFileSync(path.join(folder, 'package.json'), '{"private":true}');
    const npm = ['install', '--ignore-scripts', '--no-audit', '--no-fund', PACKAGE];
    const { status } = spawnSync('npm', npm, { cwd: folder, stdio: ['ignore', 'ignore', 'inherit'] });
    if (status !== 0 || !existsSync(entry)) return `${PACKAGE} could not be installed`;
  }
  try {
    const binding = (await import(pathToFileURL(entry).href)) as Binding;
    const llama = await binding.getLlama({ gpu: false, build: 'never', maxThreads: threads, progressLogs: false });
    const loaded = await llama.loadModel({ modelPath: model });
    const context = await loaded.createContext({ contextSize: 1024, threads });
    const sequence = context.getSequence();
    return {
      async decode(prompt, tokens) {
        await sequence.clearHistory();
        let [count, start] = [0, 0];
        const steps = sequence.evaluate(prompt, { temperature: 0 });
        while (count <= tokens && !(await steps.next()).done) {
          if (count++ === 0) start = performance.now();
        }
        await steps.return(undefined);
        return (1000 * (count - 1)) / (performance.now() - start);
      },
      close: () => llama.dispose(),
    };
  } catch (error) {
    return `node-llama-cpp did not load: ${(error as Error).message}`;
  }
}
