/** The commands by name: help, options, and how each is run and drawn. */
import { isDeepStrictEqual } from 'node:util';
import { userError } from '../../protocol/errors.ts';
import type { TuneEvent } from '../../protocol/events.ts';
import { decodingOptions } from '../../protocol/options/decoding.ts';
import type { Option } from '../../protocol/options/kinds.ts';
import { taskOptions } from '../../protocol/options/tasks.ts';
import { flagName, type CommandOptions } from '../../protocol/options/options.ts';
import { rememberUsed, type LastUsed } from '../recipes/at-hand/last-used.ts';
import { resolveModel } from '../recipes/at-hand/shipped-model.ts';
import { showCalibrate } from './draw/calibrate.ts';
import { optionsCommand, recipeCommand, type Command } from './command.ts';
import type { Context } from './context.ts';
import { showDoctor } from './draw/doctor.ts';
import { showEvaluate } from './draw/evaluate.ts';
import { showExport } from './draw/export.ts';
import { showGenerate } from './draw/generate.ts';
import { listCommand } from './list.ts';
import { completionCommand, lspCommand } from './other-commands.ts';
import { runServe } from './draw/serve.ts';
import { failedTrials, showSweep } from './draw/sweep.ts';
import { runStart, startDefaults, startHelp } from './start.ts';
import { showTune } from './draw/tune.ts';

const withModel = async <Options extends { readonly model: string }>(options: Options): Promise<Options> => ({
  ...options,
  model: resolveModel(options.model),
});

/** What a command worked with, as the next one takes it up. */
const filesOf = ({ model, exits }: LastUsed): LastUsed => ({ model, exits });

/** A run that calibrates has further events behind the one that tells its exits. */
export const tunedFiles = (_: unknown, event: TuneEvent): LastUsed | null =>
  event.type === 'tuned' ? { model: event.model, exits: event.directory } : null;

async function withPrompts(options: CommandOptions['generate'], context: Context): Promise<CommandOptions['generate']> {
  if (options.prompt.length === 0) {
    throw userError(
      'bad-argument',
      'generate needs a prompt.',
      'Give --prompt TEXT, or --prompt - for standard input.',
    );
  }
  if (options.prompt.filter((prompt) => prompt === '-').length > 1) {
    throw userError('bad-argument', 'Standard input can be one prompt only.');
  }
  const input = options.prompt.includes('-') ? await context.readInput() : '';
  return withModel({ ...options, prompt: options.prompt.map((prompt) => (prompt === '-' ? input : prompt)) });
}

/** @throws UserError for an option of judged tasks if there are none. */
function judgingTasks(options: CommandOptions['evaluate']): CommandOptions['evaluate'] {
  if (options.tasks.length > 0) return options;
  const values: Readonly<Record<string, unknown>> = { ...options };
  const idle = Object.entries<Option<unknown>>({ ...taskOptions, chat: decodingOptions.chat }).find(
    ([name, option]) => {
      const usual = option.read(option.default);
      return name !== 'tasks' && usual.ok && !isDeepStrictEqual(values[name], usual.value);
    },
  );
  if (idle === undefined) return options;
  throw userError(
    'bad-argument',
    `${flagName(idle[0])} is for judged tasks.`,
    'Name them with --tasks, or leave it out.',
  );
}

export const commands: readonly Command[] = [
  recipeCommand(
    'tune',
    {
      summary: 'Attach exits to a frozen model and tune them on text or chats.',
      description:
        'Attaches exits to layers of a model and trains only them: the files of the model are never changed. ' +
        'Writes a directory with the exits, their metrics and the state for --resume. Ctrl-C keeps what was learned so far.',
      examples: [
        ["early-exit tune --data 'src/**/*.ts'", 'exits on the model that ships, ten minutes'],
        [
          "early-exit tune --model HuggingFaceTB/SmolLM2-135M --data 'src/**' --exits 8:mlp,16:mlp,24:mlp --out my.exits",
          'MLP exits after layers 8, 16 and 24 of a model from the hub or your own',
        ],
        ['early-exit tune --data chats.jsonl --preset thorough', 'chats, learning from the assistant tokens only'],
        ["early-exit tune --data 'src/**' --out my.exits --resume", 'continue an interrupted run'],
        [
          "early-exit tune --continue-pretraining my.exits --data 'src/**' --out better.exits",
          'train the model itself further, with its exits: a new model in better',
        ],
      ],
    },
    {
      show: (events, terminal) => showTune(events, terminal),
      // A resumed run has a model of its own, and so have exits whose model is trained further: the default replaces neither.
      prepare: async (options) =>
        options.resume || options.continuePretraining !== null ? options : withModel(options),
      used: tunedFiles,
    },
  ),
  recipeCommand(
    'evaluate',
    {
      summary: 'What the exits learned and what thresholds save, on text or on tasks whose answers are judged.',
      description:
        'Measures every exit on held-out text: loss, perplexity, accuracy and agreement with the final exit; then for 21 ' +
        'thresholds from 1 to 0 the mean exit layer, the share of layers run and the agreement with the full model. ' +
        'With --tasks, answers are written at full depth, losslessly, with the calibrated thresholds and at each given threshold. They are judged: whether text that left early is still right, and how much sooner it is written. ' +
        'Each answer is saved; the same command continues after a stop.',
      examples: [
        ["early-exit evaluate --exits my.exits --data 'src/**/*.ts'", 'on the documents that tuning held out'],
        ['early-exit evaluate --exits my.exits --data other/ --documents all', 'on documents never tuned on'],
        ['early-exit evaluate --exits my.exits --data other/ --json > scores.json', 'for a program'],
        [
          'early-exit evaluate --exits my.exits --tasks HumanEval.jsonl.gz --run-code --ways lossless,calibrated,0.9,0.8',
          'answers that are run and judged',
        ],
        [
          'early-exit evaluate --exits my.exits --tasks gsm8k.jsonl mine.jsonl --ways sweep --first 200',
          'the 21 thresholds, on 200 tasks of each file',
        ],
      ],
    },
    { show: showEvaluate, prepare: async (options) => withModel(judgingTasks(options)), used: filesOf },
  ),
  recipeCommand(
    'calibrate',
    {
      summary: 'Find the thresholds of exits that keep a promise.',
      description:
        'Writes text with the exits at several sets of thresholds, from cautious to bold, on held-out text, and keeps the boldest set that keeps the promise. ' +
        'Thresholds are those of exits together with hints, the tokens that followed the same words before in the text. Exits that cost more than they save on this machine are not used. generate uses the result unless a threshold is given.',
      examples: [
        [
          "early-exit calibrate --exits my.exits --data 'src/**/*.ts'",
          'a token loses at most 0.02 nats on average: the default promise',
        ],
        [
          "early-exit calibrate --exits my.exits --data 'src/**/*.ts' --promise agreement=0.95",
          'more speed, less agreement',
        ],
        [
          "early-exit calibrate --exits my.exits --data 'src/**/*.ts' --promise regret=0.01",
          'near ties count little: a hundredth of a nat a token',
        ],
      ],
    },
    { show: showCalibrate, prepare: withModel, used: filesOf },
  ),
  recipeCommand(
    'generate',
    {
      summary: 'Generate text with a model and its exits.',
      description:
        "Streams the continuation of a prompt. By default the text is the full model's. With calibrated exits (tune calibrates when its minutes suffice) tokens may leave early if that is faster; " +
        'the text keeps the promise of the calibration, by default that a token loses at most 0.02 nats on average: see --mode. ' +
        'Each token has the colour of the exit at which it left or that drafted it; tokens of the final exit stay plain.',
      examples: [
        [
          "early-exit generate --exits my.exits --prompt 'export function mean(values'",
          'by the calibration if there is one, else the text of full depth',
        ],
        [
          "early-exit generate --exits my.exits --prompt 'const result =' --mode fast --threshold 0.9,10=0.7",
          'leave early at thresholds by exit, without a promise about the text',
        ],
        [
          "early-exit generate --model HuggingFaceTB/SmolLM2-135M-Instruct --chat --prompt 'Hello!' --temperature 0.7",
          "a chat, in the model's own template; the model is downloaded once",
        ],
        ["early-exit generate --exits my.exits --prompt 'let x' --candidates 3 --json", 'what every exit predicted'],
        ['cat prompt.txt | early-exit generate --exits my.exits --prompt -', 'the prompt from standard input'],
      ],
    },
    {
      show: (events, terminal, options) => showGenerate(events, terminal, options.prompt),
      prepare: withPrompts,
      used: filesOf,
    },
  ),
  optionsCommand(
    {
      name: 'serve',
      summary: 'Serve a model with its exits through the APIs of OpenAI, Anthropic, llama.cpp and Ollama.',
      description:
        'Serves completions, chats and filling in the middle over HTTP. Requests join the running batch, and leave it, between two tokens; each token leaves at its own exit. ' +
        'A request may have "early_exit": {"mode": …, "threshold": …, "exits": […]}; the answer then says where each token left.',
      examples: [
        ['early-exit serve', 'the model that ships, at http://127.0.0.1:8080'],
        ['early-exit serve --model my.gguf --exits my.exits --port 8081', 'your own model and exits'],
        ['early-exit serve --host 0.0.0.0 --key-file key.txt', 'for others, who need the key'],
      ],
    },
    'serve',
    async (options, json, context) => {
      await runServe(options, json, context);
      rememberUsed({ model: resolveModel(options.model), exits: options.exits });
    },
    { endsBySignal: true },
  ),
  recipeCommand(
    'sweep',
    {
      usage: 'FILE.json [OPTIONS]',
      positional: 'file',
      summary: 'Tune exits in many ways, and compare them over seeds.',
      description:
        'Tunes once for every combination of the values that a file lists, of any option of tune: exits, initial values, heads, objectives, data, seeds. ' +
        'Hidden states of the same text are computed once. The same command continues after a stop, and tries failed trials again.',
      examples: [
        ['early-exit sweep architectures.json', 'into architectures.sweep'],
        ['early-exit sweep architectures.json --out again.sweep', 'into another folder'],
      ],
    },
    { show: showSweep, failure: failedTrials },
  ),
  recipeCommand(
    'report',
    {
      usage: 'DIR… [OPTIONS]',
      positional: 'runs',
      summary: 'Curves and tables of runs, sweeps and judged tasks, as one page.',
      description:
        'Writes one HTML file that needs no other, light and dark, also for print: losses over tokens with bands over seeds, scores over depth and measured speed, where tokens leave and of which kind. ' +
        'Runs that are unfinished or cannot be read are shown as such. The same runs give the same bytes.',
      examples: [
        ['early-exit report my.exits my.tasks', 'into report.html'],
        [
          'early-exit report my.sweep --out sweep.html --figures figures',
          'each figure as SVG, CSV, Markdown and LaTeX, too',
        ],
      ],
    },
    { show: showExport },
  ),
  recipeCommand(
    'export',
    {
      summary: 'Write an exit as a plain, shallower model that other programs load.',
      description:
        'An exit of a model is a model of the same family with fewer layers: Transformers, vLLM, llama.cpp and Ollama load it as it is. ' +
        'It is written in the format of its base, with tokenizer and card. An exit that no plain model can express, such as one without a norm, is refused.',
      examples: [
        ['early-exit export --model my.gguf --exits my.exits --exit 16', 'a GGUF file for llama.cpp'],
        [
          'early-exit export --model my.gguf --exits my.exits --exit 8:lens --as draft',
          'a draft for speculative decoding',
        ],
        [
          'early-exit export --model HuggingFaceTB/SmolLM2-135M --exits my.exits --exit 20 --out smol-20',
          'for Transformers',
        ],
      ],
    },
    { show: showExport, prepare: withModel },
  ),
  recipeCommand(
    'import',
    {
      summary: 'Import exits: of a model that was trained to leave early, or an exit that export wrote.',
      description:
        'Models like LayerSkip leave after some layers with their own norm and head, so their exits need no tuning. --from turns a model that export wrote into the exit that it was. Every other command takes the result.',
      examples: [
        ['early-exit import --model facebook/layerskip-llama3.2-1B --layers 4,8 --out layerskip.exits', 'two exits'],
      ],
    },
    {
      show: showExport,
      prepare: withModel,
      used: ({ model }, last) => (last.type === 'saved' ? { model, exits: last.path } : null),
    },
  ),
  listCommand,
  recipeCommand(
    'doctor',
    {
      summary: 'Devices, their state, what is missing and how to get it.',
      description:
        'Looks for every device and says what each one is, which one auto takes and why, and how to install the others.',
      examples: [
        ['early-exit doctor', 'look'],
        ['early-exit doctor --install tensorflow-gpu', 'build TensorFlow for NVIDIA GPUs into your cache (Linux)'],
      ],
    },
    { show: showDoctor },
  ),
  optionsCommand(
    startHelp,
    'tune',
    (options, _, context) => runStart(options, context),
    // It begins with a new run, and goes on with its exits and an unchanged model; it is for people, not for programs.
    { defaults: startDefaults, without: ['resume', 'continuePretraining'], common: ['--config', '--help'] },
  ),
  completionCommand(() => commands),
  lspCommand,
];
