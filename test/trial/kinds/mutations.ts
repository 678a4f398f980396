/** Damaged files of every kind, used as they are: most by recipes in a process that may die of them, some by the real command line. */
import { cpSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { judge, problemOf, problemOfUnshown } from '../judge.ts';
import { makeExits, wordsOf } from '../material.ts';
import { targets } from '../mutations/targets.ts';
import { runProgram, type Program } from '../program.ts';
import { openRecipeHost, type Performed, type RecipeHost, type Task } from '../recipe-pool.ts';
import { failed, held, pickByWeight, type Attempt, type Kind, type Lane, type Verdict } from '../trial.ts';

/** Of these attempts one goes through the real command line. */
const throughProgram = 20;
/** Generous: the files are small, the machine may be busy. */
const bounds = { seconds: 60, bytes: 768 * 2 ** 20, resident: 1.2 * 2 ** 30 };

export const mutations: Kind = {
  name: 'mutations',
  tries: 'damaged files: GGUF, safetensors, config, tokenizer, chat template, exits, state of a run, trace, JSON lines',
  promise: 'used or refused with a sentence, in bounds of time and memory; nothing is written beside the model',
  attempts: 4000,
  inTests: 20,
  lanes: 2,
  async open({ program, folder }) {
    await makeExits(folder, program);
    const host = openRecipeHost(program, path.join(folder, 'recipe-cache'), bounds);
    return { attempt: (attempt) => damageAndUse(attempt, folder, host, program), close: () => host.close() };
  },
};

async function damageAndUse(
  { index, random, folder }: Attempt,
  material: string,
  host: RecipeHost,
  program: Program,
): ReturnType<Lane['attempt']> {
  const target = pickByWeight(random, targets);
  cpSync(target.base(material, random), folder, { recursive: true });
  const file = path.join(folder, target.file);
  writeFileSync(file, target.mutation(readFileSync(file), random));
  const before = filesOf(folder);
  const task = target.task(folder, material);
  const verdict =
    index % throughProgram === 0 && task.recipe !== 'trace'
      ? await runTask(program, task, folder)
      : judgePerformed(task, await host.perform(task));
  if (verdict.verdict !== 'held') return { ...verdict, why: `${target.name}: ${verdict.why}` };
  const written = task.recipe === 'tune' ? [] : filesOf(folder).filter((name) => !before.includes(name));
  return written.length ? failed(`${target.name}: it wrote ${written.join(', ')}`) : held;
}

async function runTask(program: Program, task: Exclude<Task, { recipe: 'trace' }>, folder: string): Promise<Verdict> {
  const words = [task.recipe, ...wordsOf(task.options)];
  return judge(await runProgram(program, words, { cwd: folder, seconds: bounds.seconds }));
}

function judgePerformed({ recipe }: Task, { outcome, growth }: Performed): Verdict {
  if (outcome.type === 'broke') return failed(outcome.message);
  if (growth > bounds.bytes) return failed(`it grew by ${(growth / 2 ** 20).toFixed(0)} MB`);
  // What is wrong with a trace an editor shows as it comes; the rest goes through a terminal or a notification of ours.
  const judgeMessage = recipe === 'trace' ? problemOf : problemOfUnshown;
  const problem = outcome.type === 'refused' ? judgeMessage(outcome.message) : null;
  return problem ? failed(problem) : held;
}

/** The cache of the command line is its own. */
const filesOf = (folder: string): string[] =>
  readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) => !name.startsWith('.early-exit-cache'));
