/** `early-exit start`: a first run, made of tune and generate. If exits ship with the model, nothing is tuned. */
import { existsSync } from 'node:fs';
import { availableParallelism, cpus, loadavg } from 'node:os';
import path from 'node:path';
import { median } from '../../protocol/median.ts';
import { betterModels, fetchMinutes } from '../../protocol/models.ts';
import { shippedModel } from '../../protocol/options/groups.ts';
import { parseOptions, type GenerateOptions, type TuneOptions } from '../../protocol/options/options.ts';
import { plural } from '../../protocol/plural.ts';
import type { Mode } from '../../protocol/trace.ts';
import { createEngine, runIn, runInWorker } from '../worker/engine.ts';
import { scoresOfExits } from '../recipes/at-hand/at-hand.ts';
import { packageRoot } from '../recipes/installation.ts';
import { rememberUsed } from '../recipes/at-hand/last-used.ts';
import { resolveModel, shippedExits } from '../recipes/at-hand/shipped-model.ts';
import { afterStart, type FirstSpeeds } from './draw/advice.ts';
import type { Context } from './context.ts';
import { showGenerate } from './draw/generate.ts';
import type { CommandHelp } from './help.ts';
import { commandHere, namingOf, shellWord, writeAdvice } from './draw/naming.ts';
import { shownEvents } from './draw/shown-events.ts';
import { showTune } from './draw/tune.ts';

export const startHelp: CommandHelp = {
  name: 'start',
  summary: 'A first run: text in the colours of its exits, and how fast it is here.',
  description:
    'Generates in the default mode with the model and the exits that ship, and measures how fast that is here, beside full depth. ' +
    "With a model, text or minutes of yours it first tunes exits, for about a minute unless you say otherwise, in a clone on this project's own TypeScript, else on the files of this folder.",
  examples: [
    ['early-exit start', 'some seconds, on the model and the exits that ship'],
    ['early-exit start --minutes 1', 'exits of your own for that model, tuned on the files of this folder'],
    [
      "early-exit start --model my.gguf --data 'src/**' --minutes 5",
      'the same on your own model and files, for five minutes',
    ],
  ],
};

/** A function of the kind that the model that ships was trained on. */
const PROMPT = '/**\n * Returns the sum of a list of numbers.\n */\nexport function sum(values: number[]): number {\n';
/** Ends the text behind the function. */
const STOP = '\n\n';
const NEW_TOKENS = 96;
/** Rounds of the measurement: at least the fewest, and then until they have taken so long; texts of a small model take a tenth of a second. */
const ROUNDS = { fewest: 3, most: 15, milliseconds: 4000 };

/** Options of tune that `start` sets unless the user gives others. */
export function startDefaults(): Partial<Record<keyof TuneOptions, string | readonly string[]>> {
  const root = packageRoot();
  const sources = ['protocol', 'backend', 'extension', 'webview', 'test'].filter((folder) =>
    existsSync(path.join(root, folder)),
  );
  const data = sources.map((folder) => path.join(root, folder, '**/*.ts'));
  return { model: shippedModel, preset: 'quick', out: freeName('start'), ...(data.length > 0 ? { data } : {}) };
}

/** `start.exits`, or `start-2.exits` … if that was written by an earlier run. */
function freeName(name: string): string {
  for (let i = 1; ; i++) {
    const directory = `${name}${i === 1 ? '' : `-${i}`}.exits`;
    if (!existsSync(directory)) return directory;
  }
}

/** Options of the device are no reason to tune. */
const places: ReadonlySet<string> = new Set(['device', 'gpuLayers', 'threads', 'exitDevice']);

/** Whether the user gave no options, only the command. */
function asksNothing(given: TuneOptions): boolean {
  const usual = parseOptions('tune', startDefaults());
  const names = Object.keys(usual) as (keyof TuneOptions)[];
  return names.every((name) => places.has(name) || JSON.stringify(given[name]) === JSON.stringify(usual[name]));
}

/** Model and exits to generate with; `directory` is null if Ctrl-C has ended the run. */
interface Begun {
  readonly directory: string;
  readonly isCalibrated: boolean;
}

export async function runStart(given: TuneOptions, { terminal, signal }: Context): Promise<void> {
  const { out, err } = terminal;
  let part = 1;
  const heading = (text: string): void => err.write(`\n${err.colours.bold(`${part++}. ${text}`)}\n`);
  const options = { ...given, model: resolveModel(given.model) };
  const exits = asksNothing(given) ? shippedExits() : null;
  let begun: Begun | null = exits === null ? null : { directory: exits, isCalibrated: true };
  if (begun === null) {
    heading('Attach exits to the frozen model and tune them');
    const events = shownEvents(runInWorker('tune', options, { signal }), terminal);
    const tuned = await showTune(events, terminal, false);
    if (!tuned || signal.aborted) return;
    begun = { directory: tuned.directory, isCalibrated: tuned.calibrated };
  }

  heading('Generate in the default mode, each token in the colour of its exit');
  const request = parseOptions('generate', {
    model: options.model,
    exits: begun.directory,
    prompt: [PROMPT],
    maxTokens: NEW_TOKENS,
    stop: [STOP],
    stopRepetition: true,
    device: options.device,
    gpuLayers: options.gpuLayers,
    threads: options.threads,
  });
  const events = shownEvents(runInWorker('generate', request, { signal }), terminal);
  const generated = await showGenerate(events, terminal, request.prompt);
  if (!generated || signal.aborted) return;

  heading('Measure: the same at full depth and in the default mode, in turn');
  const speeds = await measure(request, signal);
  if (signal.aborted) return;
  rememberUsed({ model: options.model, exits: begun.directory });
  const naming = namingOf(begun.directory, given.model, options.data);
  const first = {
    speeds: { ...speeds, machine: machineText(options.threads) },
    ...scoresOfExits(begun.directory),
    isCalibrated: begun.isCalibrated,
  };
  writeAdvice(out, afterStart(first, naming, exits === null ? null : larger()));
}

/** The next step from the model that ships, as it can be copied. */
function larger(): readonly [line: string, effect: string] {
  const [{ reference, name, bytes }] = betterModels();
  return [
    `${commandHere()} start --model ${shellWord(reference)}`,
    `the same with ${name}, which people use: ${Math.round(bytes / 1e6)} MB to fetch (${plural(fetchMinutes(bytes), 'minute')} at 100 Mbit/s), then exits for the files of this folder`,
  ];
}

/** What a speed was measured on, and what else went on there. */
function machineText(threads: number): string {
  const name = cpus()[0]?.model.trim() || process.arch;
  const cores = availableParallelism();
  const load = loadavg()[0]!;
  return `${name}, ${threads > 0 ? threads : cores} threads, load ${load.toFixed(1)} on ${cores} cores`;
}

/** Longer than a text takes, so that the model stays open between them. */
const IDLE_MILLISECONDS = 60_000;

/**
 * Median speed of full depth and of the default mode, alternating so that other work on the machine meets both. The first round opens the
 * model and builds the graphs of its passes, and does not count.
 */
async function measure(request: GenerateOptions, signal: AbortSignal): Promise<Omit<FirstSpeeds, 'machine'>> {
  const runs: Record<'full' | 'auto', number[]> = { full: [], auto: [] };
  let chosen: Mode = 'full';
  const engine = createEngine({ idleMilliseconds: IDLE_MILLISECONDS, graceMilliseconds: Infinity });
  try {
    const began = performance.now();
    const isEnough = (rounds: number): boolean =>
      rounds >= ROUNDS.fewest && (rounds >= ROUNDS.most || performance.now() - began > ROUNDS.milliseconds);
    for (let round = 0; !isEnough(round - 1); round++) {
      for (const mode of ['full', 'auto'] as const) {
        for await (const event of runIn(engine, 'generate', { ...request, mode }, signal)) {
          if (event.type === 'ready' && mode === 'auto') chosen = event.mode;
          if (event.type === 'generated' && round > 0) runs[mode].push(event.tokensPerSecond);
        }
      }
    }
  } finally {
    await engine.dispose();
  }
  return { mode: chosen, full: median(runs.full), auto: median(runs.auto), rounds: runs.full.length };
}
