/**
 * Judged tasks: how often the model's answer is right, at full depth, lossless, as calibrated, at bare thresholds, and in llama.cpp on the
 * same tokens, task by task; and how fast each of them writes.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, renameSync, rmSync } from 'node:fs';
import path from 'node:path';
import { parseOptions, type EvaluateOptions } from '../../../protocol/options/options.ts';
import {
  pointsRange,
  pointsText,
  speedText,
  verdictText,
  type TaskScores,
  type WayScore,
} from '../../../protocol/tasks.ts';
import type { Tokenizer } from '../../../backend/data/tokenizer/tokenizer.ts';
import { chooseDevice } from '../../../backend/devices/devices.ts';
import { placeOn } from '../../../backend/devices/fallback.ts';
import { askFor, type TaskPrompt } from '../../../backend/evaluation/tasks/ask.ts';
import { openJudge } from '../../../backend/evaluation/tasks/judge.ts';
import { readTasks } from '../../../backend/evaluation/tasks/read.ts';
import { openRecord, readEvaluation, type EvaluationRecord } from '../../../backend/evaluation/tasks/record.ts';
import { openSandbox } from '../../../backend/evaluation/tasks/sandbox.ts';
import { scoresOf } from '../../../backend/evaluation/tasks/scores.ts';
import { runsCode, type Task } from '../../../backend/evaluation/tasks/task.ts';
import { mostTimedTokens, timeWays } from '../../../backend/evaluation/tasks/times.ts';
import { findWays } from '../../../backend/evaluation/tasks/ways.ts';
import { runtimeOptions } from '../../../backend/recipes/opening/backbone.ts';
import { evaluateTasks } from '../../../backend/recipes/evaluate-tasks.ts';
import { openWithTokenizer, readExits, type OpenedModel } from '../../../backend/recipes/opening/opened.ts';
import { noExits } from '../../../backend/runtime/open.ts';
import { installLlama, llamaChild, llamaVersion } from '../contestants/llama.ts';
import { llamaAnswer, promptIds, type LlamaAnswer, type NextToken } from '../contestants/llama-answer.ts';
import { benchCache, taskFile } from '../material.ts';
import { measurement, pause } from '../measure.ts';
import { figures, type Findings, type Goal } from '../report.ts';
import { tunedOnChats, tunedOnPython, type Tune } from '../tuned.ts';
import type { BenchOptions, Section } from './section.ts';

const llamaName = 'llama.cpp';
/** Beside full depth, if no others are asked for. */
const usualWays = ['lossless', 'calibrated', 0.99, 0.97, 0.95, 0.9, 0.8, llamaName].map(String);
/** Spread over the set. */
const timedTasks = 16;
/** Points by which a way may be below full depth. */
const margin = 2;
/** Below this, McNemar's test says that two ways differ. */
const significance = 0.05;

/** A set of tasks, and how it is put to a model. */
interface JudgedSet {
  readonly name: string;
  readonly file: string;
  /** How many of its tasks; null: all. */
  readonly first: number | null;
  readonly chat: boolean;
  readonly suits: (tokenizer: Tokenizer) => boolean;
  /** Makes exits for its kind of text. */
  readonly tuned: Tune;
  readonly isCode: boolean;
  /** Said in the notes: what is asked, and on what exits are tuned unless some are given. */
  readonly asks: string;
  readonly tunedOn: string;
}

const pythonExits = 'Exits are tuned on Python’s own library, for ten minutes, those of a large model for twenty.';

export const infillingSection = judgedSection(
  'Judged tasks: lines',
  'about a hundred minutes for the 1,033 tasks of Qwen2.5-Coder-0.5B, of models that were taught to fill',
  {
    name: 'infilling',
    file: 'HumanEval-SingleLineInfilling.jsonl.gz',
    first: null,
    chat: false,
    suits: ({ fim }) => fim !== null,
    tuned: tunedOnPython,
    isCode: true,
    asks: 'Lines of HumanEval are taken out, and the model fills them in, asked as in the editor and with all of the text around them; up to the end of the line. An answer is right if the program passes its tests.',
    tunedOn: pythonExits,
  },
);

export const humanevalSection = judgedSection('Judged tasks: functions', 'about an hour for Qwen2.5-Coder-0.5B', {
  name: 'humaneval',
  file: 'HumanEval.jsonl.gz',
  first: null,
  chat: false,
  suits: () => true,
  tuned: tunedOnPython,
  isCode: true,
  asks: 'Functions of HumanEval, whose heads and docstrings are the prompts. An answer is right if it passes its tests.',
  tunedOn: pythonExits,
});

export const gsm8kSection = judgedSection('Judged tasks: sums', 'about an hour and a half for Qwen2.5-Coder-0.5B', {
  name: 'gsm8k',
  file: 'gsm8k-test-first-660.jsonl',
  first: 200,
  chat: true,
  suits: ({ chatTemplate }) => chatTemplate !== null,
  tuned: tunedOnChats,
  isCode: false,
  asks: 'Questions of GSM8K, as chats in the model’s own template. An answer is right if its last number is.',
  tunedOn:
    'Exits are tuned and calibrated on the model’s own English chats, which are about other things ([chats](#what-do-exits-bring-in-chats)).',
});

function judgedSection(title: string, takes: string, set: JudgedSet): Section {
  return {
    title,
    takes: `${takes}${set.isCode ? ', with --run-code' : ''}; goes on where it was stopped`,
    each: 'model',
    async run(options, file) {
      const nothing = { goals: [], tables: [], notes: [], measurements: [] };
      const tasks = taskFile(set.file);
      if (tasks === null) return nothing;
      if (set.isCode && !options.runCode) {
        console.warn('Left out: to judge an answer its code is run here, in a sandbox. Allow it with --run-code.');
        return nothing;
      }
      const opened = openWithTokenizer(file);
      try {
        return set.suits(opened.tokenizer) ? await measure(opened, set, tasks, options) : nothing;
      } finally {
        opened.model.close();
      }
    },
  };
}

/** Answers that are there are kept until there are all, so that a run that was stopped goes on: of this commit and these options alone. */
async function measure(opened: OpenedModel, set: JudgedSet, file: string, options: BenchOptions): Promise<Findings> {
  const { name } = opened.model;
  const commit = execFileSync('git', ['rev-parse', 'HEAD'], { encoding: 'utf8' }).trim();
  const exits = options.exits ?? (await set.tuned(opened.model, options.threads));
  const asked = options.ways.length > 0 ? options.ways : usualWays;
  const first = options.first ?? (options.isDraft ? 4 * options.rounds : set.first);
  const key = createHash('sha256')
    .update(JSON.stringify([commit, exits, first, options.threads]))
    .digest('hex')
    .slice(0, 12);
  const begun = path.join(benchCache, 'tasks', `${set.name}-${name}-${key}`);
  const finished = path.join(benchCache, 'tasks', `${set.name}-${name}.tasks`);
  mkdirSync(path.dirname(begun), { recursive: true });

  const given = parseOptions('evaluate', {
    model: opened.model.path,
    exits,
    tasks: [file],
    first,
    chat: set.chat,
    ways: asked.filter((way) => way !== llamaName).join(),
    runCode: options.runCode,
    margin,
    timedTasks: 0,
    device: 'cpu',
    threads: options.threads,
    out: begun,
  });
  const signal = new AbortController().signal;
  for await (const event of evaluateTasks(given, signal)) {
    if (event.type === 'warning') console.error(`  ${event.message}`);
    if (event.type === 'progress' && event.done % 50 === 0)
      console.error(`  ${name}: ${event.done} of ${event.total} ${event.unit}`);
  }
  const { identity, about } = readEvaluation(begun);
  const hasLlama = asked.includes(llamaName) && opened.model.path.endsWith('.gguf') && (await installLlama());
  const ways = [...about.ways.filter((way) => way !== llamaName), ...(hasLlama ? [llamaName] : [])];
  const tasks = readTasks(file, first).sets[0]!;
  const puts = await putAll(opened, tasks.tasks, set.chat, signal);
  const record = openRecord(begun, identity, { ...about, ways });
  const llama = hasLlama ? await openLlama(opened, puts, options.threads) : null;
  try {
    if (llama) await addAnswers(llama, tasks.name, puts, identity.layers, record);
    const count = Math.min(options.isDraft ? options.rounds : timedTasks, puts.length);
    const spread = Array.from({ length: count }, (_, i) => puts[Math.floor((i * puts.length) / count)]!);
    const isTimed = ({ task }: Put): boolean =>
      record.times.some((line) => line.task === task.id && ways.every((way) => way in line.ways));
    const untimed = spread.filter((put) => !isTimed(put));
    if (untimed.length > 0) await addTimes(opened, llama, tasks.name, untimed, given, record, signal);
  } finally {
    await llama?.end();
    record.close();
  }
  const evaluation = readEvaluation(begun);
  rmSync(finished, { recursive: true, force: true });
  renameSync(begun, finished);
  console.error(`  each answer is in ${finished}`);
  const [scores] = scoresOf(evaluation);
  const samples = ways.flatMap((way) => {
    const timed = evaluation.times.map((line) => line.ways[way]!).filter(({ tokens }) => tokens > 0);
    const perToken = timed.map(({ seconds, tokens }) => seconds / tokens);
    return perToken.length === 0 ? [] : measurement(`${name}: ${way}, a token`, perToken);
  });
  return { ...findings(name, scores!), notes: notesOf(set, options), measurements: samples };
}

/** A task of the set, with its prompt. */
interface Put {
  readonly task: Task;
  readonly prompt: TaskPrompt;
}

async function putAll(
  { model, tokenizer }: OpenedModel,
  tasks: readonly Task[],
  chat: boolean,
  signal: AbortSignal,
): Promise<Put[]> {
  const asking = { tokenizer, chat, answerTokens: null, contextLength: model.spec.contextLength };
  const puts: Put[] = [];
  for (const task of tasks) puts.push({ task, prompt: await askFor(task, asking, signal) });
  return puts;
}

interface Llama {
  answer(prompt: TaskPrompt): Promise<LlamaAnswer>;
  end(): Promise<void>;
}

async function openLlama({ model, tokenizer }: OpenedModel, puts: readonly Put[], threads: number): Promise<Llama> {
  const child = await llamaChild('wall');
  // A healed prompt is a few tokens longer there.
  const contextSize = 64 + Math.max(...puts.map(({ prompt }) => prompt.ids.length + prompt.maxTokens));
  await child.ask({ type: 'open', model: model.path, threads, contextSize });
  const next: NextToken = (ids) => child.ask(ids ? { type: 'first', ids } : { type: 'next' });
  const encode = (text: string): number[] => tokenizer.encodeInside(text);
  return {
    answer: (prompt) => llamaAnswer(next, promptIds(prompt, encode), prompt, tokenizer, tokenizer.eosIds),
    end: () => child.end(),
  };
}

/** llama.cpp's answers, judged like ours. */
async function addAnswers(llama: Llama, set: string, puts: readonly Put[], layers: number, record: EvaluationRecord) {
  const sandbox = await openSandbox(new Set(puts.flatMap(({ task }) => (runsCode(task) ? [task.language] : []))));
  try {
    const judge = openJudge(sandbox);
    const isDone = new Set(record.answers.flatMap(({ way, task }) => (way === llamaName ? [task] : [])));
    for (const [i, { task, prompt }] of puts.entries()) {
      if (isDone.has(task.id)) continue;
      const { text: answer, stop, tokens } = await llama.answer(prompt);
      const judged = await judge(task, answer);
      const about = { set, task: task.id, way: llamaName };
      record.addAnswer({ ...about, answer, ...judged, stop, tokens, layers: tokens * layers, left: {} });
      if (i % 50 === 49) console.error(`  ${llamaName}: ${i + 1} of ${puts.length} answers`);
    }
  } finally {
    sandbox.dispose();
  }
}

/** The time of each way, ours and llama.cpp in turn, task by task. */
async function addTimes(
  { model, tokenizer }: OpenedModel,
  llama: Llama | null,
  set: string,
  puts: readonly Put[],
  options: EvaluateOptions,
  record: EvaluationRecord,
  signal: AbortSignal,
) {
  const tuned = options.exits === null ? null : await readExits(options.exits, { model, tokenizer }, signal);
  const exits = tuned ?? noExits;
  const open = { model, tokenizer, exits: exits.specs, calibration: tuned?.calibration ?? null };
  const { ways } = findWays(options, open);
  const placement = placeOn(await chooseDevice(options, null, signal), (message) => console.error(`  ${message}`));
  const on = { model, exits, running: { placement, options: runtimeOptions(options) } };
  const tasks = puts.map(({ task, prompt }) => ({ set, task: task.id, prompt }));
  for await (const line of timeWays(on, ways, tasks, signal)) {
    const { prompt } = tasks.find(({ task }) => task === line.task)!;
    const short = { ...prompt, maxTokens: Math.min(prompt.maxTokens, mostTimedTokens) };
    await pause();
    const theirs = await llama?.answer(short);
    await pause();
    const { seconds, tokens } = theirs ?? { seconds: 0, tokens: 0 };
    record.addTimes({ ...line, ways: { ...line.ways, ...(theirs && { [llamaName]: { seconds, tokens } }) } });
  }
}

function findings(name: string, { set, asked, layers, ways }: TaskScores): Omit<Findings, 'notes' | 'measurements'> {
  const find = (way: string): WayScore | undefined => ways.find((each) => each.way === way);
  const [lossless, calibrated, llama] = ['lossless', 'calibrated', llamaName].map(find);
  const goal = (what: string, value: number, bound: Goal['bound'], limit: number): Goal[] => [
    { what: `${what}, ${asked} tasks of ${set}, ${name}`, value, unit: '', bound, limit },
  ];
  return {
    goals: [
      ...(llama?.difference
        ? goal(`McNemar's p of full depth and llama.cpp`, llama.difference.p, 'at least', significance)
        : []),
      ...(lossless
        ? goal('answers of lossless that are not those of full depth', differing(lossless), 'at most', 0)
        : []),
      ...(calibrated?.difference
        ? goal(
            'points that calibrated may be below full depth, with 95 % certainty',
            -100 * calibrated.difference.low,
            'at most',
            margin,
          )
        : []),
    ],
    tables: [
      {
        caption: `${name}: ${asked} tasks of ${set}`,
        columns: [
          'way',
          'right, %',
          'difference, points (95 %)',
          'lost, won',
          "McNemar's p",
          'verdict',
          'answers of full depth, %',
          'mean layer',
          '÷ full depth',
          'tokens/s',
        ],
        rows: ways.map(({ way, score, difference, same, meanLayer, speed, tokensPerSecond }) => [
          way,
          figures(100 * score),
          difference ? `${pointsText(difference.mean)} (${pointsRange(difference)})` : '',
          difference ? `${difference.lost}, ${difference.won}` : '',
          difference ? figures(difference.p) : '',
          difference ? verdictText(difference.verdict) : '',
          same === null ? '' : figures(100 * same),
          meanLayer === null ? '' : `${figures(meanLayer)} of ${layers}`,
          speed ? speedText(speed) : '',
          tokensPerSecond === null ? '' : figures(tokensPerSecond),
        ]),
      },
    ],
  };
}

const differing = ({ same, tasks }: WayScore): number => Math.round((1 - (same ?? 1)) * tasks);

const notesOf = ({ asks, tunedOn }: JudgedSet, { threads, exits }: BenchOptions): string[] => [
  `${asks} Greedy, ${threads} threads, precision \`fast\`.`,
  exits === null ? tunedOn : `Exits are those of \`--exits\`: ${path.basename(exits)}.`,
  `The difference is from full depth on the same tasks, with its 95 % interval; lost: tasks that full depth alone solved, won: tasks that it alone did not. Not worse: by ${margin} points at most. A number is a threshold that was not calibrated.`,
  `llama.cpp is node-llama-cpp ${llamaVersion} on the same tokens; its texts end where ours do, and are judged alike. Speed: tokens after the prompt on some tasks, one at a time, our ways a pass each in turn.`,
  'The paper (EE-Tuning, arXiv 2402.00518) claims 1.2 to 1.6 times the speed at equal or better scores, of models of 7 to 70 billion parameters.',
];
