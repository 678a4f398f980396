/** Every option once, by group. The group and the name make the setting: `earlyExit.tuning.learningRate`. */
import { completionOptions } from './options-completions.ts';
import { decodingOptions } from './options-decoding.ts';
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
} from './options-kinds.ts';
import { architectures, exitsNotation, guessExits, parseExits, type ExitsRequest } from './options-notations.ts';
import { placeOptions } from './options-place.ts';
import { parsePromise, promiseNotation, promiseText, type Promised } from './options-promise.ts';
import { taskOptions } from './options-tasks.ts';
import { dataOptions, tuningOptions } from './options-tuning.ts';

export { completionOptions, dataOptions, decodingOptions, placeOptions, tuningOptions };

/** Name of the model that ships. */
export const shippedModel = 'typescript-5m';

export const modelOptions = {
  model: text({
    default: shippedModel,
    scope: 'machine-overridable',
    placeholder: 'DIR|FILE.gguf|ID',
    help: `The model: a Hugging Face directory, a GGUF file, a hub id, or ${shippedModel}, the one that ships.`,
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
    help: `Where exits hang and what they compute: LAYER[:ARCHITECTURE],…, lens where none is named, or auto, three lenses at 2/3, 5/6 and 11/12 of the depth. ${architectureTexts}.`,
  }),
};

/** A checkpoint's exits, for the commands that use them. */
export const checkpointOptions = {
  exits: optionalText({
    scope: 'machine-overridable',
    placeholder: 'DIR',
    help: 'The exits that tune wrote, a directory such as my.exits. Where they may be left out, the model then runs at full depth.',
  }),
};

export const evaluationOptions = {
  documents: oneOf({
    default: 'held-out',
    values: {
      'held-out': 'the share that tuning on the same data kept apart',
      all: 'everything that --data names',
    },
    help: 'Which documents are evaluated.',
  }),
  heldOutFraction: optionalNumber({
    advanced: true,
    minimum: 0,
    above: true,
    maximum: 0.9,
    help: 'Share of the documents that was kept apart; by default as the exits were tuned.',
  }),
  splitSeed: optionalInteger({
    advanced: true,
    minimum: 0,
    maximum: 4_294_967_295,
    help: 'Seed by which it was kept apart; by default as the exits were tuned.',
  }),
};

/** What a calibration promises where nothing is said. */
export const usualPromise = {
  promise: { measure: 'regret', limit: 0.02 },
  certainty: 0.95,
  calibrationTokens: 3072,
} as const satisfies { promise: Promised; certainty: number; calibrationTokens: number };

const unlessSaid = (value: string | number): string => `by default ${value}, or a resumed run's own.`;

/** The promise of a calibration: of `calibrate`, and of the one that `tune` ends with. */
export const calibrationOptions = {
  promise: optionalNotation<Promised>({
    scope: 'window',
    placeholder: 'agreement=SHARE|regret=NATS',
    expected: promiseNotation,
    parse: parsePromise,
    help: `What new text must keep: at least such a share of tokens is the full model's own choice; or on average a token is so many nats less probable, to the full model, than its own choice, so that near ties count little; ${unlessSaid(promiseText(usualPromise.promise))}`,
  }),
  certainty: optionalNumber({
    advanced: true,
    minimum: 0,
    maximum: 0.999999,
    scope: 'window',
    help: `How certain it must be that new text keeps the promise; ${unlessSaid(usualPromise.certainty)}`,
  }),
  calibrationTokens: optionalInteger({
    advanced: true,
    minimum: 256,
    maximum: 10_000_000,
    scope: 'window',
    help: `Tokens that are generated to calibrate on, more where the promise takes more: the model's own text after beginnings of the held-out text; ${unlessSaid(usualPromise.calibrationTokens)}`,
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
    help: 'Threads of the CPU; 0 for one a core.',
  }),
  precision: oneOf({
    advanced: true,
    scope: 'window',
    default: 'fast',
    values: {
      fast: 'activations rounded to 8 bits where the weights are quantised, as llama.cpp does; about twice as fast',
      exact: 'weights and activations of 32 bits',
    },
    help: 'Arithmetic of the model. In evaluate, which reads many tokens at once, fast rounds weights that are floats, too.',
  }),
};

export const exitDeviceOptions = {
  exitDevice: oneOf({
    advanced: true,
    scope: 'window',
    default: 'auto',
    values: {
      auto: 'the device of the model where exits can be tuned there, else the CPU',
      cpu: 'compiled, on the CPU',
      webgpu: 'TensorFlow.js on WebGPU',
      tensorflow: 'TensorFlow itself, where it is installed (doctor --install)',
    },
    help: 'Where exits are tuned.',
  }),
};

/** An editor's server listens at this machine alone: where it listens and who may ask are no settings. */
export const serverOptions = {
  host: text({
    default: '127.0.0.1',
    placeholder: 'ADDRESS',
    help: 'Address to listen at. Any but that of this machine itself needs a key.',
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
    help: 'How the model is called here; otherwise as its file or folder is.',
  }),
  keyFile: optionalText({
    placeholder: 'FILE',
    help: 'A file with the keys that clients may give, one a line, as a bearer token; EARLY_EXIT_KEY in the environment does the same.',
  }),
  logLevel: oneOf({
    default: 'info',
    values: {
      error: 'what went wrong with the server',
      info: 'also a line for each request: who asked, how it was answered, tokens, times, layers; with --json a record',
      debug: 'also what each request asked',
    },
    help: 'What is written about requests.',
  }),
  origins: list({
    advanced: true,
    default: [],
    notEmpty: true,
    placeholder: 'ORIGIN',
    help: 'Web pages that may ask, such as https://example.com, beside those that the server itself could have sent; may be repeated.',
  }),
  parallel: integer({
    advanced: true,
    default: 8,
    minimum: 1,
    maximum: 256,
    scope: 'window',
    help: 'Most texts written at a time; rows that are free remember conversations.',
  }),
  cacheMegabytes: integer({
    advanced: true,
    default: 1024,
    minimum: 16,
    maximum: 1_048_576,
    scope: 'window',
    help: 'Most memory for what texts have computed. With the number of texts at a time it decides how long one may become.',
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
    help: 'Whose texts share what has been computed of a beginning that they have in common. Who shares it can find out what others have sent, by what is told as cached and by the time.',
  }),
  queue: integer({
    advanced: true,
    default: 256,
    minimum: 0,
    maximum: 100_000,
    scope: 'window',
    help: 'Most texts of one client that wait; more are told to come back. A client that has none open is heard whatever it asks for.',
  }),
  bodyMegabytes: number({
    advanced: true,
    default: 4,
    minimum: 0,
    above: true,
    maximum: 256,
    scope: 'window',
    help: 'Largest request.',
  }),
  seconds: number({
    advanced: true,
    default: 600,
    minimum: 0,
    above: true,
    maximum: 86_400,
    scope: 'window',
    help: 'Longest time of a request; what is written by then is its answer.',
  }),
};

/** How texts are written where a request does not say. */
export const servedOptions = {
  maxTokens: integer({
    default: 2048,
    minimum: 1,
    maximum: 10_000_000,
    help: 'Most new tokens of a request.',
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

export const exportOptions = {
  exit: optionalText({ placeholder: 'EXIT', help: 'Which exit, such as 16 or 16:lens.' }),
  format: oneOf({
    default: 'auto',
    values: {
      auto: 'that of the base',
      hf: 'a Hugging Face directory, for Transformers and vLLM',
      gguf: 'a GGUF file, for llama.cpp and Ollama',
    },
    help: 'What is written.',
  }),
  quantize: oneOf({
    default: 'none',
    values: { none: 'as it is', q8_0: 'blocks of 8 bits', q4_0: 'blocks of 4 bits' },
    help: 'Type of matrices that are not in blocks yet, in GGUF.',
  }),
  as: oneOf({
    default: 'model',
    values: { model: 'a model by itself', draft: 'a draft for speculative decoding with its base' },
    help: 'What the card tells how to use.',
  }),
  out: optionalText({
    placeholder: 'DIR',
    help: 'Folder to write; by default it is called after the base and the exit.',
  }),
};

export const importOptions = {
  layers: notation<readonly number[]>({
    default: '8',
    placeholder: 'LAYER,…',
    expected: 'layers from 1 on, such as 8,16,24',
    parse: parseLayers,
    help: 'Layers behind which the model was trained to leave; without --from.',
  }),
  from: optionalText({
    placeholder: 'DIR|FILE',
    help: 'What export wrote of an exit of this model: it becomes that exit again.',
  }),
  out: optionalText({ placeholder: 'DIR', help: 'Folder to write; by default it is called after the model.' }),
};

function parseLayers(text: string): readonly number[] | null {
  const layers = text.split(',').map((each) => (/^[1-9]\d{0,5}$/.test(each.trim()) ? Number(each) : null));
  return layers.includes(null) ? null : [...new Set(layers as number[])];
}

export const doctorOptions = {
  install: oneOf({
    default: 'none',
    values: {
      none: 'look only',
      vulkan: "ggml's library for any GPU, into your cache",
      cuda: "ggml's library for NVIDIA GPUs, into your cache",
      tensorflow: 'build TensorFlow for the CPU into your cache',
      'tensorflow-gpu': 'build TensorFlow for NVIDIA GPUs into your cache',
    },
    help: 'Bring a missing part.',
  }),
};

export const displayOptions = {
  codeLens: boolean({
    default: true,
    scope: 'window',
    help: 'Preview the exit layers above the first line of each generation.',
  }),
  colours: boolean({ default: true, scope: 'window', help: 'Colour generated tokens by their exit layer.' }),
  hover: boolean({ default: true, scope: 'window', help: 'Show on hover what every exit would have said.' }),
  inlayHints: boolean({ default: false, scope: 'window', help: 'Show exit layers within the line.' }),
  lineFigures: boolean({
    default: false,
    scope: 'window',
    help: 'Show behind each generated line how many layers its tokens took on average.',
  }),
};

export const backendOptions = {
  nodePath: optionalText({
    scope: 'machine-overridable',
    help: 'Node 20 or newer that runs the backend; by default the one on PATH.',
  }),
};

/** Groups that are settings, in the order shown. A group whose `prefix` is empty lies right under `earlyExit`. */
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
