/** Writes answers to tasks at full depth and in other ways, judges them, and measures the speed of each way. */
import { createHash } from 'node:crypto';
import { basename, join, resolve } from 'node:path';
import { plural } from '../../protocol/plural.ts';
import { fullDepth } from '../../protocol/tasks.ts';
import { userError } from '../../protocol/errors.ts';
import type { EvaluateEvent, Phase, ProgressEvent, WarningEvent } from '../../protocol/events.ts';
import type { EvaluateOptions } from '../../protocol/options/options.ts';
import { addFile } from '../checkpoint/hash.ts';
import { infoFile, memoryFile, parametersFile } from '../formats/our-folders.ts';
import { openSession, type Session } from '../decoding/session.ts';
import { placeOn, placeStagedModel, type Running } from '../devices/fallback.ts';
import { chooseDevice } from '../devices/devices.ts';
import { needsOf } from '../devices/fit.ts';
import { pooled, writeAnswer } from '../evaluation/tasks/answers.ts';
import { askFor, type TaskPrompt } from '../evaluation/tasks/ask.ts';
import { openJudge, type Judge } from '../evaluation/tasks/judge.ts';
import { readTasks, type TaskFile } from '../evaluation/tasks/read.ts';
import {
  isOn,
  openRecord,
  readEvaluation,
  type AnswerLine,
  type EvaluationRecord,
  type Identity,
  type TimesLine,
} from '../evaluation/tasks/record.ts';
import { openSandbox, type Language } from '../evaluation/tasks/sandbox.ts';
import { scoresOf } from '../evaluation/tasks/scores.ts';
import { runsCode, type Task, type TaskSet } from '../evaluation/tasks/task.ts';
import { machineOf, timeWays } from '../evaluation/tasks/times.ts';
import { findWays, inReadingOrder, type Way } from '../evaluation/tasks/ways.ts';
import { exitId } from '../exits/spec.ts';
import { modelName, type Model } from '../model/open.ts';
import { statOf } from '../system/files.ts';
import { noExits, onlyExits, type ExitSet } from '../runtime/open.ts';
import { positionsWithin } from '../runtime/staged-model.ts';
import { closeAll, type Close } from './opening/closing.ts';
import { inStreamOrder, runtimeOptions } from './opening/backbone.ts';
import { readyEvent } from './reporting.ts';
import { identify, openWithTokenizer, readExits, type OpenedExits, type OpenedModel } from './opening/opened.ts';

/** A task of a set, with its prompt. */
interface Put {
  readonly set: string;
  readonly task: Task;
  readonly prompt: TaskPrompt;
}

interface Piece extends Put {
  readonly way: Way;
}

/** Bytes of keys, values and streams that prompts of tasks before may take. */
const rememberedBytes = 2 ** 29;
/** Tokens of a prompt in one pass: no text in flight waits for it. */
const pieceTokens = 512;
/** Answers that are judged while the next ones are written. */
const judgedMeanwhile = 8;

/** What is open while tasks are evaluated. */
interface OpenTasks {
  readonly model: Model;
  readonly exits: ExitSet;
  readonly running: Running;
  readonly ways: readonly Way[];
  readonly puts: readonly Put[];
  readonly judge: Judge;
  readonly directory: string;
  readonly record: EvaluationRecord;
  /** Of the device since the last call. */
  readonly warnings: () => string[];
}

/** @throws UserError for tasks, a model or exits that cannot be used, before anything is written. */
export async function* evaluateTasks(
  options: EvaluateOptions,
  signal: AbortSignal,
): AsyncGenerator<EvaluateEvent, void> {
  const closing: Close[] = [];
  try {
    const tasks = yield* openTasks(options, (close) => void closing.push(close), signal);
    yield* answerAll(tasks, options, signal);
    yield* timeAll(tasks, options, signal);
    const { directory } = tasks;
    yield { type: 'judged', directory, margin: options.margin, sets: scoresOf(readEvaluation(directory)) };
  } finally {
    await closeAll(closing);
  }
}

/** Opens everything that is the same for all answers; what has to be closed is handed to `atEnd`. */
async function* openTasks(
  options: EvaluateOptions,
  atEnd: (close: Close) => void,
  signal: AbortSignal,
): AsyncGenerator<EvaluateEvent, OpenTasks> {
  const files = options.tasks.map((path) => readTasks(path, options.first));
  const sets = setsOf(files);
  const needed = languagesOf(sets, options.runCode);
  yield { type: 'phase', phase: 'load', detail: options.model };
  const opened = openWithTokenizer(options.model);
  const { model, tokenizer } = opened;
  atEnd(() => model.close());
  const tuned = options.exits === null ? null : await readExits(options.exits, opened, signal);
  const exits = tuned ?? noExits;
  const open = { model, tokenizer, exits: exits.specs, calibration: tuned?.calibration ?? null };
  const { ways, warnings } = findWays(options, open);
  const sandbox = needed.size === 0 ? null : await openSandbox(needed);
  if (sandbox) {
    // If all that is left waits for judges, nothing else looks at the signal.
    signal.addEventListener('abort', sandbox.dispose, { once: true });
    atEnd(() => signal.removeEventListener('abort', sandbox.dispose));
    atEnd(sandbox.dispose);
  }
  const puts = yield* put(sets, opened, options, signal);

  const device = await chooseDevice(options, needsOf(model, options.precision === 'exact', exits), signal);
  const late: string[] = [];
  const placement = placeOn(device, (message) => void late.push(message));
  yield readyEvent(model, exits.specs, device.name);
  for (const message of warnings) yield { type: 'warning', message };
  if (tokenizer.fim === null && puts.some(({ task }) => task.form === 'fill'))
    yield {
      type: 'warning',
      message: `${model.name} was not taught to fill in: it goes on from the text before the gap alone.`,
    };

  const running: Running = { placement, options: runtimeOptions(options) };
  const directory = options.out ?? usualFolder(options);
  const record = openRecord(directory, await identityOf(options, opened, tuned, files, signal), {
    ways: ways.map(({ name }) => name),
    margin: options.margin,
    sets: Object.fromEntries(sets.map(({ name, tasks }) => [name, tasks.length])),
    ...machineOf(running),
  });
  atEnd(() => record.close());
  const judge = openJudge(sandbox);
  return { model, exits, running, ways, puts, judge, directory, record, warnings: () => late.splice(0) };
}

/** Writes and judges the answers that the record lacks. */
async function* answerAll(
  tasks: OpenTasks,
  { together, precision }: EvaluateOptions,
  signal: AbortSignal,
): AsyncGenerator<EvaluateEvent, void> {
  const { model, exits, running, ways, puts, judge, record } = tasks;
  const inOrder = inReadingOrder(ways);
  const pieces = puts.flatMap((each) => waysFor(each.task, inOrder).map((way): Piece => ({ ...each, way })));
  const isDone = keysOf(record.answers);
  const left = pieces.filter((piece) => !isDone.has(keyOf(piece)));
  yield {
    type: 'phase',
    phase: 'generate',
    detail: `${plural(puts.length, 'task')}, each in ${plural(ways.length, 'way')}`,
  };
  if (left.length === 0) return;
  const isUsed = (exit: string): boolean => ways.some((way) => way.uses(exit));
  const staged = await placeStagedModel(running.placement, model, onlyExits(exits, isUsed), running.options);
  const positions = positionsWithin(rememberedBytes, staged, precision === 'exact');
  // One row more remembers the prompt that the next tasks begin with.
  const session = openSession(staged, { rows: together + 1, positions, pieceTokens });
  try {
    const work = (piece: Piece): Promise<AnswerLine> => answerOne(session, judge, piece, signal);
    const clock = progressClock('generate', 'answers', pieces.length, pieces.length - left.length, together);
    for await (const line of pooled(left, together + judgedMeanwhile, work)) {
      signal.throwIfAborted();
      record.addAnswer(line);
      const { set, task, way, answer, score, ending, tokens } = line;
      yield { type: 'answer', set, task, way, answer, score, ending, tokens };
      yield clock();
      yield* replaced(tasks);
    }
  } finally {
    session.dispose();
    await staged.dispose();
  }
}

/** Tells that the CPU has taken over from a device that failed, which the record then names. */
function* replaced({ running, record, warnings }: OpenTasks): Generator<WarningEvent, void> {
  record.setDevice(machineOf(running).device);
  for (const message of warnings()) yield { type: 'warning', message };
}

/** Times the ways on some tasks, those whose times on this device with these threads the record lacks. */
async function* timeAll(
  tasks: OpenTasks,
  { timedTasks }: EvaluateOptions,
  signal: AbortSignal,
): AsyncGenerator<EvaluateEvent, void> {
  const { model, exits, running, ways, puts, record } = tasks;
  const timed = timedOf(puts, timedTasks);
  const here = machineOf(running);
  const isTimed = (line: TimesLine): boolean => isOn(here, line) && ways.every(({ name }) => name in line.ways);
  const known = new Set(record.times.filter(isTimed).map(keyOfTask));
  const untimed = timed.filter((each) => !known.has(keyOfTask({ set: each.set, task: each.task.id })));
  if (ways.length < 2 || untimed.length === 0) return;
  yield { type: 'phase', phase: 'measure', detail: plural(timed.length, 'task') };
  const clock = progressClock('measure', 'tasks', timed.length, timed.length - untimed.length, 0);
  const left = untimed.map(({ set, task, prompt }) => ({ set, task: task.id, prompt }));
  for await (const line of timeWays({ model, exits, running }, ways, left, signal)) {
    record.addTimes(line);
    yield clock();
    yield* replaced(tasks);
  }
}

function setsOf(files: readonly TaskFile[]): TaskSet[] {
  const sets = files.flatMap((file) => file.sets);
  const twice = sets.find(({ name }, i) => sets.findIndex((other) => other.name === name) < i);
  if (twice)
    throw userError('bad-argument', `Two files of tasks are called ${twice.name}.`, 'Name each once, and differently.');
  return sets;
}

function languagesOf(sets: readonly TaskSet[], mayRun: boolean): ReadonlySet<Language> {
  const needed = new Set<Language>();
  for (const { name, tasks } of sets)
    for (const task of tasks) {
      if (!runsCode(task)) continue;
      if (!mayRun)
        throw userError(
          'bad-argument',
          `To judge ${name}, code that the model writes has to be run here.`,
          'Allow it with --run-code: it runs in a process apart, with limits, and is still unchecked code.',
        );
      needed.add(task.language);
    }
  return needed;
}

/** Every task's prompt; one that is too long is refused before anything is written. */
async function* put(
  sets: readonly TaskSet[],
  { model, tokenizer }: OpenedModel,
  { chat, answerTokens }: EvaluateOptions,
  signal: AbortSignal,
): AsyncGenerator<ProgressEvent, Put[]> {
  const asking = { tokenizer, chat, answerTokens, contextLength: model.spec.contextLength };
  const total = sets.reduce((sum, { tasks }) => sum + tasks.length, 0);
  const puts: Put[] = [];
  for (const { name, tasks } of sets)
    for (const task of tasks) {
      puts.push({ set: name, task, prompt: await askFor(task, asking, signal) });
      if (puts.length % 64 === 0 || puts.length === total) {
        yield { type: 'progress', phase: 'tokenize', done: puts.length, total, unit: 'tasks' };
        signal.throwIfAborted();
      }
    }
  return puts;
}

/** Likelihoods are read by the final exit, in whatever way. */
const waysFor = (task: Task, ways: readonly Way[]): readonly Way[] =>
  task.form === 'choice' && task.by === 'likelihood' ? ways.filter(({ name }) => name === fullDepth) : ways;

async function answerOne(
  session: Session,
  judge: Judge,
  { set, task, prompt, way }: Piece,
  signal: AbortSignal,
): Promise<AnswerLine> {
  // Drafts change the time alone, which is measured apart; but lossless is nothing else.
  const how = way.name === 'lossless' ? {} : { drafts: null };
  const { text, stop, tokens, layers, left } = await writeAnswer(session, task, prompt, way, () => signal.aborted, how);
  signal.throwIfAborted();
  const { score, ending } = await judge(task, text);
  return { set, task: task.id, way: way.name, answer: text, score, ending, stop, tokens, layers, left };
}

type Key = { readonly set: string; readonly task: string; readonly way: string };
const keyOfTask = ({ set, task }: Omit<Key, 'way'>): string => JSON.stringify([set, task]);
const keyOf = ({ set, task, way }: Piece): string => JSON.stringify([set, task.id, way.name]);
const keysOf = (lines: readonly Key[]): ReadonlySet<string> =>
  new Set(lines.map(({ set, task, way }) => JSON.stringify([set, task, way])));

/** This number of tasks of each set, spread over it. */
function timedOf(puts: readonly Put[], count: number): Put[] {
  const written = puts.filter(({ prompt }) => prompt.choices.length === 0);
  return [...new Set(written.map(({ set }) => set))].flatMap((set) => {
    const own = written.filter((each) => each.set === set);
    const taken = Math.min(count, own.length);
    return Array.from({ length: taken }, (_, i) => own[Math.floor((i * own.length) / taken)]!);
  });
}

/** Counts answers, and estimates the remaining time from the speed so far. Those that are written `together` are taken to be half done. */
function progressClock(
  phase: Phase,
  unit: string,
  total: number,
  before: number,
  together: number,
): () => ProgressEvent {
  const started = performance.now();
  let done = 0;
  return () => {
    done++;
    const left = total - before - done;
    const begun = Math.min(together, left) / 2;
    const seconds = (performance.now() - started) / 1000;
    const secondsLeft = (seconds / (done + begun)) * (left - begun);
    return { type: 'progress', phase, done: before + done, total, unit, secondsLeft };
  };
}

async function identityOf(
  options: EvaluateOptions,
  { model, tokenizer }: OpenedModel,
  tuned: OpenedExits | null,
  files: readonly TaskFile[],
  signal: AbortSignal,
): Promise<Identity> {
  const { chat, answerTokens, precision, head, deferred } = options;
  return {
    model: model.name,
    modelSha256: (await identify(model, signal)).sha256,
    tokenizerSha256: tokenizer.fingerprint(),
    layers: model.spec.layers.length,
    exits: inStreamOrder(tuned?.specs ?? []).map(exitId),
    exitsSha256: options.exits === null ? null : await hashExits(options.exits, signal),
    tasks: Object.fromEntries(files.map(({ path, sha256 }) => [basename(path), { sha256, first: options.first }])),
    options: { chat, answerTokens, precision, head, deferred },
  };
}

async function hashExits(directory: string, signal: AbortSignal): Promise<string> {
  const hash = createHash('sha256');
  for (const file of [infoFile, parametersFile, memoryFile].map((name) => join(directory, name)))
    if (statOf(file) !== null) await addFile(hash, file, signal);
  return hash.digest('hex');
}

/** `my.exits` → `my.tasks`, in the current folder. */
const usualFolder = ({ exits, model }: EvaluateOptions): string =>
  `${(exits === null ? modelName(resolve(model)) : basename(resolve(exits))).replace(/\.(exits|gguf)$/, '')}.tasks`;
