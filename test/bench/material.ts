/** What is measured with: models and text that lie on this machine, and a folder for what the bench installs. */
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { globSync } from 'tinyglobby';
import { publishedModels } from './models.ts';

export const root = path.resolve(import.meta.dirname, '../..');
/** Installed by the bench alone; safe to delete. */
export const benchCache = path.join(root, '.cache/bench');

const modelsFolder = process.env['EARLY_EXIT_MODELS'] ?? path.resolve(root, '../shared/models');
const tasksFolder = process.env['EARLY_EXIT_TASKS'] ?? path.resolve(root, '../shared/tasks');
const dataFolder = process.env['EARLY_EXIT_DATA'] ?? path.resolve(root, '../shared/data/typescript');

export const shippedModel = path.join(root, 'models/typescript-5m');

const big = path.join(modelsFolder, 'SmolLM2-135M-Instruct.Q4_1.gguf');

/** SmolLM2-135M as GGUF; null, with a message, where EARLY_EXIT_MODELS (default: ../shared/models) has none. */
export function bigModel(): string | null {
  if (existsSync(big)) return big;
  console.warn(`Left out: ${path.basename(big)} is not in EARLY_EXIT_MODELS.`);
  return null;
}

/** Where `npm run bench -- fetch` puts models. */
export const fetchedModels = path.join(benchCache, 'models');

/** The published models that lie in EARLY_EXIT_MODELS or were fetched. */
export const realModels = (): string[] =>
  publishedModels.flatMap(({ file }) => {
    const found = [modelsFolder, fetchedModels]
      .map((folder) => path.join(folder, file))
      .find((each) => existsSync(each));
    if (found === undefined) console.warn(`Left out: ${file}; npm run bench -- fetch brings it.`);
    return found ?? [];
  });

export interface Text {
  /** Said in notes. */
  readonly origin: string;
  readonly documents: readonly string[];
}

/** TypeScript of EARLY_EXIT_DATA (`train.jsonl`, `heldout.jsonl`: one {"text"} a line), else this project's own. */
export function typescriptText(part: 'train' | 'heldout'): Text {
  const file = path.join(dataFolder, `${part}.jsonl`);
  if (existsSync(file)) {
    const lines = readFileSync(file, 'utf8').split('\n').filter(Boolean);
    return { origin: `${part}.jsonl`, documents: lines.map((line) => (JSON.parse(line) as { text: string }).text) };
  }
  const folders = part === 'train' ? '{protocol,backend}' : 'test/unit';
  const files = globSync(`${folders}/**/*.ts`, { cwd: root }).sort();
  return {
    origin: "this project's own TypeScript",
    documents: files.map((name) => readFileSync(path.join(root, name), 'utf8')),
  };
}

/** A file of judged tasks in EARLY_EXIT_TASKS; null, with a message, if there is none. */
export function taskFile(name: string): string | null {
  const file = path.join(tasksFolder, name);
  if (existsSync(file)) return file;
  console.warn(`Left out: ${name} is not in EARLY_EXIT_TASKS.`);
  return null;
}

/** Questions and answers of GSM8K in EARLY_EXIT_TASKS, else this project's own pages. */
export function englishText(): Text {
  const file = path.join(tasksFolder, 'gsm8k-test-first-660.jsonl');
  if (existsSync(file)) {
    const lines = readFileSync(file, 'utf8').split('\n').filter(Boolean);
    const asked = lines.map((line) => JSON.parse(line) as { question: string; answer: string });
    return {
      origin: 'questions and answers of GSM8K',
      documents: asked.map((each) => `${each.question}\n${each.answer}`),
    };
  }
  const files = globSync(['*.md', 'docs/*.md'], { cwd: root }).sort();
  return {
    origin: "this project's own pages",
    documents: files.map((name) => readFileSync(path.join(root, name), 'utf8')),
  };
}
