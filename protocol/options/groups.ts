/** Every option once, by group. The group and the name make the setting: `earlyExit.tuning.learningRate`. */
import { completionOptions } from './completions.ts';
import { decodingOptions } from './decoding.ts';
import {
  boolean,
  integer,
  list,
  notation,
  number,
  oneOf,
  optionalInteger,
  optionalNotation,
  optionalNumber,
  optionalText,
  text,
  type Option,
} from './kinds.ts';
import {
  architectures,
  autoPlacesText,
  exitsNotation,
  guessExits,
  parseExits,
  type ExitsRequest,
} from './notations.ts';
import { placeOptions } from './place.ts';
import { parsePromise, promiseNotation, promiseText, type Promised } from './promise.ts';
import { taskOptions } from './tasks.ts';
import { dataOptions, tuningOptions } from './tuning.ts';

export { completionOptions, dataOptions, decodingOptions, placeOptions, tuningOptions };

/** Name of the model that ships. */
export const shippedModel = 'typescript-5m';

export const modelOptions = {
  model: text({
    default: shippedModel,
    scope: 'machine-overridable',
    placeholder: 'DIR|FILE.gguf|ID',
    help: `The model: a Hugging Face directory, a GGUF file, a hub id, or ${shippedModel}, the one that ships. On the command line the default is the model of the exits, else the one last used in this folder.`,
  }),
};

/** What each architecture is. */
const architectureTexts = Object.entries(architectures)
  .map(([name, meaning]) => `${name}: ${meaning}`)
  .join('; ');

export const exitsOptions = {
  exits: notation<ExitsRequest>({
    default: 'auto',
    scope: 'window',
    placeholder: 'LAYER:ARCHITECTURE,…',
    expected: exitsNotation,
    parse: parseExits,
    guess: guessExits,
    help: `The exits: LAYER or LAYER:ARCHITECTURE, separated by commas (lens if no architecture is named), or auto: lenses at ${autoPlacesText} of the depth. ${architectureTexts}.`,
  }),
};

/** A checkpoint's exits, for the commands that use them. */
export const checkpointOptions = {
  exits: optionalText({
    scope: 'machine-overridable',
    placeholder: 'DIR',
    help: 'The exits that tune wrote, a directory such as my.exits. On the command line the default is what was used last in this folder; none means no exits. Without exits no token leaves early.',
  }),
};

export const evaluationOptions = {
  documents: oneOf({
    default: 'held-out',
    values: {
      'held-out': 'the share of the data that tuning held out',
      all: 'everything that --data names',
    },
    help: 'Which documents are evaluated.',
  }),
  heldOutFraction: optionalNumber({
    advanced: true,
    minimum: 0,
    above: true,
    maximum: 0.9,
    help: 'Share of the documents that was held out; by default the one with which the exits were tuned.',
  }),
  splitSeed: optionalInteger({
    advanced: true,
    minimum: 0,
    maximum: 4_294_967_295,
    help: 'Seed that chose the held-out documents; by default the one with which the exits were tuned.',
  }),
};

/** What a calibration promises by default. */
export const usualPromise = {
  promise: { measure: 'regret', limit: 0.02 },
  certainty: 0.95,
  /** If they choose thresholds that text is judged by, and if half of them test the thresholds that the others chose. */
  calibrationTokens: { judged: 1024, tested: 3072 },
} as const satisfies { promise: Promised; certainty: number; calibrationTokens: { judged: number; tested: number } };

const orDefault = (value: string | number): string => `by default ${value}, or a resumed run's own.`;

/** The promise of a calibration: of `calibrate`, and of the one that `tune` ends with. */
export const calibrationOptions = {
  promise: optionalNotation<Promised>({
    scope: 'window',
    placeholder: 'agreement=SHARE|regret=NATS',
    expected: promiseNotation,
    parse: parsePromise,
    help: `The promise for new text. agreement: at least this share of tokens is the full model's own choice. regret: a token's log-probability under the full model is on average at most this many nats below that of the model's best token, so near ties count little; ${orDefault(promiseText(usualPromise.promise))}`,
  }),
  certainty: optionalNumber({
    advanced: true,
    minimum: 0,
    maximum: 0.999999,
    scope: 'window',
    help: `How certain it must be that new text keeps the promise; ${orDefault(usualPromise.certainty)}`,
  }),
  calibrationTokens: optionalInteger({
    advanced: true,
    minimum: 256,
    maximum: 10_000_000,
    scope: 'window',
    help: `Tokens that are generated to calibrate on (more if the promise needs more): the model's own continuations of held-out text; by default ${usualPromise.calibrationTokens.judged} (${usualPromise.calibrationTokens.tested} for exits without memory), or a resumed run's own.`,
  }),
};

export const deviceOptions = {
  device: oneOf({
    scope: 'window',
    default: 'auto',
    values: {
      auto: 'a real GPU that has room for some of the model, else the CPU',
      cpu: 'the CPU',
      vulkan: 'any GPU, through Vulkan (doctor --install vulkan)',
      cuda: 'an NVIDIA GPU, through CUDA (doctor --install cuda)',
      metal: 'the GPU of a Mac, through Metal',
    },
    help: 'Where the model runs.',
  }),
  gpuLayers: notation<number | 'auto'>({
    advanced: true,
    scope: 'window',
    default: 'auto',
    placeholder: 'N|auto',
    expected: 'auto or a whole number of at least 0',
    parse: (text) => (text === 'auto' ? 'auto' : /^\d{1,4}$/.test(text) ? Number(text) : null),
    help: 'Layers of the model on a GPU, from the first on; the CPU computes the rest. auto: as many as fit.',
  }),
  threads: integer({
    advanced: true,
    default: 0,
    minimum: 0,
    maximum: 1024,
    scope: 'window',
    help: 'Threads of the CPU; 0 for one per core.',
  }),
  precision: oneOf({
    advanced: true,
    scope: 'window',
    default: 'fast',
    values: {
      fast: 'activations rounded to 8 bits if the weights are quantised, as llama.cpp does; about twice as fast',
      exact: 'weights and activations of 32 bits',
    },
    help: 'Arithmetic of the model. In evaluate, which reads many tokens at once, fast also rounds weights that are floats.',
  }),
};

export const exitDeviceOptions = {
  exitDevice: oneOf({
    advanced: true,
    scope: 'window',
    default: 'auto',
    values: {
      auto: 'the device of the model if exits can be tuned there, else the CPU',
      cpu: 'compiled, on the CPU',
      webgpu: 'TensorFlow.js on WebGPU',
      tensorflow: 'TensorFlow itself, if it is installed (doctor --install)',
    },
    help: 'Where exits are tuned.',
  }),
};

/** An editor's server listens only on this machine, so its address and its keys are no settings. */
export const serverOptions = {
  host: text({
    default: '127.0.0.1',
    placeholder: 'ADDRESS',
    help: 'Address to listen at. An address that other machines can reach needs a key.',
  }),
  port: integer({
    default: 8080,
    minimum: 0,
    maximum: 65_535,
    scope: 'machine-overridable',
    help: 'Port to listen at; 0 for any that is free.',
  }),
  alias: optionalText({
    placeholder: 'NAME',
    help: 'Name of the model in the API; by default the name of its file or folder.',
  }),
  keyFile: optionalText({
    placeholder: 'FILE',
    help: 'A file with the keys that clients may send as a bearer token, one per line; EARLY_EXIT_KEY in the environment may hold them instead.',
  }),
  logLevel: oneOf({
    default: 'info',
    values: {
      error: 'errors of the server',
      info: 'also a line for each request: client, status, tokens, times, layers; with --json a record',
      debug: 'also the prompt of each request',
    },
    help: 'What is logged.',
  }),
  origins: list({
    advanced: true,
    default: [],
    notEmpty: true,
    placeholder: 'ORIGIN',
    help: 'Origins of web pages that may send requests, such as https://example.com, besides those of the server itself; the flag may be repeated.',
  }),
  parallel: integer({
    advanced: true,
    default: 8,
    minimum: 1,
    maximum: 256,
    scope: 'window',
    help: 'Maximum number of texts written at a time, each in a row of the batch; free rows remember conversations.',
  }),
  cacheMegabytes: integer({
    advanced: true,
    default: 1024,
    minimum: 16,
    maximum: 1_048_576,
    scope: 'window',
    help: 'Maximum memory for keys and values of texts. Together with the number of texts at a time it limits their length.',
  }),
  cacheScope: oneOf({
    advanced: true,
    default: 'key',
    values: {
      request: 'the texts of one request',
      key: 'requests with the same key; without keys, all of them',
      all: 'all requests',
    },
    scope: 'window',
    help: 'Which texts share the cache of common beginnings. A client that shares it can find out what others have sent, from the number of cached tokens and from the time.',
  }),
  queue: integer({
    advanced: true,
    default: 256,
    minimum: 0,
    maximum: 100_000,
    scope: 'window',
    help: 'Maximum number of waiting texts per client; further ones are refused for now. A client without open requests is always accepted.',
  }),
  bodyMegabytes: number({
    advanced: true,
    default: 4,
    minimum: 0,
    above: true,
    maximum: 256,
    scope: 'window',
    help: 'Maximum size of a request body, in megabytes.',
  }),
  seconds: number({
    advanced: true,
    default: 600,
    minimum: 0,
    above: true,
    maximum: 86_400,
    scope: 'window',
    help: 'Time limit of a request, in seconds; the answer is what is written by then.',
  }),
};

/** How texts are written unless a request says otherwise. */
export const servedOptions = {
  maxTokens: integer({
    default: 2048,
    minimum: 1,
    maximum: 10_000_000,
    help: 'Maximum number of new tokens of a request.',
  }),
  mode: decodingOptions.mode,
  tokenHealing: decodingOptions.tokenHealing,
  drafts: decodingOptions.drafts,
  deferred: decodingOptions.deferred,
  promptExit: decodingOptions.promptExit,
  policy: decodingOptions.policy,
  threshold: decodingOptions.threshold,
  patience: decodingOptions.patience,
  disable: decodingOptions.disable,
  head: decodingOptions.head,
  temperature: decodingOptions.temperature,
  topK: decodingOptions.topK,
  topP: decodingOptions.topP,
  minP: decodingOptions.minP,
  repetitionPenalty: decodingOptions.repetitionPenalty,
};

export const displayOptions = {
  codeLens: boolean({
    default: true,
    scope: 'window',
    help: 'Show a CodeLens above the first line of each generation: its tokens, speed and exits.',
  }),
  colours: boolean({ default: true, scope: 'window', help: 'Colour generated tokens by their exit layer.' }),
  hover: boolean({ default: true, scope: 'window', help: 'Show on hover what every exit predicted.' }),
  inlayHints: boolean({ default: false, scope: 'window', help: 'Show exit layers within the line.' }),
  lineFigures: boolean({
    default: false,
    scope: 'window',
    help: 'Show at the end of each generated line the mean number of layers of its tokens.',
  }),
};

export const backendOptions = {
  nodePath: optionalText({
    scope: 'machine-overridable',
    help: "Node 20 or newer that runs the backend; by default the one on PATH, else VS Code's own runtime.",
  }),
};

/** Groups that are settings, in the order shown. If `prefix` is empty, the group's settings are directly under `earlyExit`. */
export const settingGroups = [
  { title: 'Model', prefix: '', options: { ...modelOptions, ...exitsOptions } },
  { title: 'Device', prefix: '', options: { ...deviceOptions, ...exitDeviceOptions } },
  { title: 'Data', prefix: 'tuning', options: dataOptions },
  { title: 'Tuning', prefix: 'tuning', options: { ...tuningOptions, ...placeOptions } },
  { title: 'Decoding', prefix: 'decoding', options: { ...checkpointOptions, ...decodingOptions } },
  { title: 'Completions', prefix: 'completions', options: completionOptions },
  { title: 'Evaluation', prefix: 'evaluation', options: { ...evaluationOptions, ...calibrationOptions } },
  { title: 'Tasks', prefix: 'evaluation', options: taskOptions },
  { title: 'Server', prefix: 'server', options: serverOptions },
  { title: 'Display', prefix: 'display', options: displayOptions },
  { title: 'Backend', prefix: 'backend', options: backendOptions },
] as const satisfies readonly {
  title: string;
  prefix: string;
  options: Readonly<Record<string, Option<unknown>>>;
}[];
