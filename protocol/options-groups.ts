/** Every option once, by group. The group and the name make the setting: `earlyExit.tuning.learningRate`. */
import {
  boolean,
  integer,
  list,
  notation,
  number,
  oneOf,
  optionalInteger,
  optionalNumber,
  optionalText,
  text,
  type Option,
} from './options-kinds.ts';
import {
  defaultThreshold,
  exitsNotation,
  parseExits,
  parseThresholds,
  parseWeights,
  thresholdsNotation,
  weightsNotation,
  type ExitsRequest,
  type ExitWeights,
  type Thresholds,
} from './options-notations.ts';

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

export const exitsOptions = {
  exits: notation<ExitsRequest>({
    default: 'auto',
    scope: 'window',
    placeholder: 'LAYER:ARCHITECTURE,…',
    expected: exitsNotation,
    parse: parseExits,
    help: 'Where exits hang and what they compute: LAYER[:lens|norm|mlp|layer|embedding],… or auto, three lenses at 1/2, 2/3 and 5/6 of the depth.',
  }),
};

/** A checkpoint's exits, for the commands that use them. */
export const checkpointOptions = {
  exits: optionalText({
    scope: 'machine-overridable',
    placeholder: 'DIR',
    help: 'The exits that tune wrote, a directory such as my.exits; without it the model runs at full depth.',
  }),
};

export const dataOptions = {
  data: list({
    default: ['**/*.{ts,tsx,mts,js,jsx,mjs,py,rs,go,java,kt,c,h,cpp,hpp,cs,rb,php,swift,md,txt}'],
    scope: 'resource',
    placeholder: 'GLOB…',
    variadic: true,
    help: 'Text files, folders or globs; a .jsonl file of {"messages": […]} lines holds chats, of {"text": …} lines texts.',
  }),
  sequenceLength: integer({
    default: 512,
    minimum: 8,
    maximum: 131_072,
    scope: 'window',
    help: "Tokens in a window of text; never more than the model's context.",
  }),
  batchSize: integer({ default: 4, minimum: 1, maximum: 1024, scope: 'window', help: 'Windows in one pass.' }),
  heldOutFraction: number({
    default: 0.05,
    minimum: 0,
    above: true,
    maximum: 0.9,
    scope: 'window',
    help: 'Share of the documents kept for evaluation, never tuned on.',
  }),
  evaluationTokens: integer({
    default: 16_384,
    minimum: 64,
    maximum: 100_000_000,
    scope: 'window',
    help: 'At most so many held-out tokens are evaluated.',
  }),
  seed: integer({
    default: 1,
    minimum: 0,
    maximum: 4_294_967_295,
    scope: 'window',
    help: 'Seed of everything random: split, order, initial values, sampling.',
  }),
};

export const tuningOptions = {
  out: optionalText({
    placeholder: 'DIR',
    help: 'Where the exits are written; by default the name of the model with .exits, in the current folder.',
  }),
  resume: boolean({ default: false, help: 'Go on with the run that --out holds.' }),
  preset: oneOf({
    scope: 'window',
    default: 'standard',
    values: { quick: 'about a minute', standard: 'about ten minutes', thorough: 'about an hour' },
    help: 'How much work to put in: sets minutes, fitTokens and evaluationTokens where they are not given.',
  }),
  minutes: optionalNumber({
    minimum: 0,
    above: true,
    maximum: 100_000,
    scope: 'window',
    help: 'Stop after so many minutes, fit and evaluations included; the preset has a limit.',
  }),
  steps: optionalInteger({ minimum: 1, scope: 'window', help: 'Stop after so many updates.' }),
  epochs: optionalInteger({ minimum: 1, scope: 'window', help: 'Stop after so many passes over the data.' }),
  head: oneOf({
    scope: 'window',
    default: 'shortlist',
    values: {
      shortlist: 'a trained head over the most frequent tokens of the data; all others go on to the next exit',
      own: 'a trained head over the whole vocabulary',
      shared: "the model's own head, frozen",
    },
    help: 'The head of each exit.',
  }),
  shortlist: integer({
    default: 4096,
    minimum: 2,
    maximum: 1_000_000,
    scope: 'window',
    help: 'Tokens in the head where --head is shortlist.',
  }),
  initialise: oneOf({
    scope: 'window',
    default: 'fit',
    values: {
      fit: "a least-squares fit to the final exit's state, in closed form",
      copy: "copies of the model's own parameters",
      random: 'normal values of deviation 0.02',
    },
    help: 'What an exit starts from.',
  }),
  fitTokens: integer({
    default: 80_000,
    minimum: 256,
    maximum: 100_000_000,
    scope: 'window',
    help: 'Tokens that a fit reads.',
  }),
  accumulation: integer({
    default: 1,
    minimum: 1,
    maximum: 4096,
    scope: 'window',
    help: 'Passes whose gradients make one update.',
  }),
  learningRate: number({
    default: 1e-4,
    minimum: 0,
    maximum: 1,
    scope: 'window',
    help: 'Learning rate after warm-up.',
  }),
  finalLearningRate: number({
    default: 1e-5,
    minimum: 0,
    maximum: 1,
    scope: 'window',
    help: 'Learning rate at the end of the schedule.',
  }),
  schedule: oneOf({
    scope: 'window',
    default: 'linear',
    values: { linear: 'a straight line', cosine: 'half a cosine', constant: 'no decay' },
    help: 'How the learning rate falls to its final value.',
  }),
  warmupFraction: number({
    default: 0.01,
    minimum: 0,
    maximum: 1,
    scope: 'window',
    help: 'Share of the run over which the learning rate rises from 0.',
  }),
  beta1: number({ default: 0.9, minimum: 0, maximum: 0.999999, scope: 'window', help: 'AdamW: decay of the mean.' }),
  beta2: number({
    default: 0.95,
    minimum: 0,
    maximum: 0.999999,
    scope: 'window',
    help: 'AdamW: decay of the variance.',
  }),
  epsilon: number({
    default: 1e-5,
    minimum: 0,
    above: true,
    maximum: 1,
    scope: 'window',
    help: 'AdamW: added to the root of the variance.',
  }),
  weightDecay: number({ default: 0.01, minimum: 0, maximum: 1, scope: 'window', help: 'AdamW: weight decay.' }),
  decay: oneOf({
    scope: 'window',
    default: 'matrices',
    values: { matrices: 'matrices only', all: 'norms and biases too' },
    help: 'Which parameters decay.',
  }),
  gradientClip: number({
    default: 1,
    minimum: 0,
    above: true,
    maximum: 1e9,
    scope: 'window',
    help: 'Largest norm of a gradient; a larger one is scaled down to it.',
  }),
  clip: oneOf({
    scope: 'window',
    default: 'each',
    values: {
      each: "each exit's own norm, so exits tuned together equal exits tuned alone",
      joint: 'the norm of all exits',
    },
    help: 'Which norm is clipped.',
  }),
  crossEntropy: number({
    default: 1,
    minimum: 0,
    maximum: 1e6,
    scope: 'window',
    help: 'Weight of the cross-entropy with the true next token.',
  }),
  distillation: number({
    default: 0,
    minimum: 0,
    maximum: 1e6,
    scope: 'window',
    help: "Weight of the divergence from the final exit's distribution.",
  }),
  exitWeights: notation<ExitWeights>({
    default: '1',
    scope: 'window',
    placeholder: 'W,…|FROM..TO[:cosine]',
    expected: weightsNotation,
    parse: parseWeights,
    help: "Weight of each exit's loss: one for all, one an exit, or a ramp over the run.",
  }),
  weighting: oneOf({
    scope: 'window',
    default: 'uniform',
    values: { uniform: 'every token counts the same', dynamic: "each token counts by the exit's own confidence in it" },
    help: 'How the tokens of an exit are weighted.',
  }),
  evaluateEvery: optionalInteger({
    minimum: 1,
    scope: 'window',
    help: 'Evaluate all exits after so many updates; by default about ten times a run.',
  }),
  featureCache: boolean({
    default: true,
    scope: 'window',
    help: 'Keep hidden states on disk, so that later epochs skip the backbone.',
  }),
};

export const evaluationOptions = {
  documents: oneOf({
    scope: 'window',
    default: 'held-out',
    values: {
      'held-out': 'the share that tuning on the same data and seed keeps apart',
      all: 'everything that --data names',
    },
    help: 'Which documents are evaluated.',
  }),
};

export const calibrationOptions = {
  agreement: number({
    default: 0.99,
    minimum: 0,
    above: true,
    maximum: 1,
    scope: 'window',
    help: 'Least share of tokens that must agree with the full model.',
  }),
  certainty: number({
    default: 0.95,
    minimum: 0,
    maximum: 0.999999,
    scope: 'window',
    help: 'How certain it must be that new text keeps the agreement.',
  }),
  calibrationTokens: integer({
    default: 4096,
    minimum: 256,
    maximum: 10_000_000,
    scope: 'window',
    help: "Tokens that are generated to calibrate on: the model's own text after beginnings of the held-out text.",
  }),
};

export const decodingOptions = {
  prompt: list({
    default: [],
    help: 'The prompt, - for standard input; repeated, the prompts are decoded as a batch.',
  }),
  chat: boolean({ default: false, scope: 'window', help: "Put the prompt into the model's chat template." }),
  system: optionalText({ scope: 'window', help: 'System message of a chat.' }),
  maxTokens: integer({
    default: 128,
    minimum: 1,
    maximum: 10_000_000,
    scope: 'window',
    help: 'Stop after so many new tokens.',
  }),
  mode: oneOf({
    scope: 'window',
    default: 'fast',
    values: {
      fast: 'each token leaves at the first exit that is sure enough',
      lossless: 'exits and the text itself draft, the final exit verifies: the text of full, sooner',
      full: 'every token runs all layers',
    },
    help: 'How exits are used.',
  }),
  drafts: integer({
    default: 8,
    minimum: 0,
    maximum: 64,
    scope: 'window',
    help: 'Most tokens drafted and decided together, in the modes fast and lossless; it changes the speed, never the text.',
  }),
  policy: oneOf({
    scope: 'window',
    default: 'confidence',
    values: {
      confidence: 'leave where the largest probability is at least the threshold',
      margin: 'leave where it exceeds the second largest by at least the threshold',
      entropy: 'leave where the entropy, in nats, is at most the threshold',
      patience: 'leave where enough exits in a row have said the same token',
    },
    help: 'When an exit is sure enough.',
  }),
  threshold: notation<Thresholds>({
    default: 'auto',
    scope: 'window',
    placeholder: 'auto|T|EXIT=T,…',
    expected: thresholdsNotation,
    parse: parseThresholds,
    help: `How sure an exit must be, for all or by exit; by confidence, 1 never leaves early and 0 always does. auto: as calibrated, else ${defaultThreshold}.`,
  }),
  patience: integer({
    default: 2,
    minimum: 1,
    maximum: 1000,
    scope: 'window',
    help: 'Exits in a row that must agree, under the policy patience.',
  }),
  disable: list({
    default: [],
    scope: 'window',
    variadic: true,
    placeholder: 'EXIT…',
    help: 'Exits not to use, such as 8:mlp.',
  }),
  temperature: number({
    default: 0,
    minimum: 0,
    maximum: 100,
    scope: 'window',
    help: 'Temperature of sampling; 0 takes the most probable token.',
  }),
  topK: integer({
    default: 0,
    minimum: 0,
    maximum: 1_000_000,
    scope: 'window',
    help: 'Sample among so many most probable tokens; 0 for all.',
  }),
  topP: number({
    default: 1,
    minimum: 0,
    above: true,
    maximum: 1,
    scope: 'window',
    help: 'Sample among the most probable tokens that hold this share.',
  }),
  minP: number({
    default: 0,
    minimum: 0,
    maximum: 1,
    scope: 'window',
    help: 'Drop tokens less probable than this share of the most probable one.',
  }),
  repetitionPenalty: number({
    default: 1,
    minimum: 0,
    above: true,
    maximum: 100,
    scope: 'window',
    help: 'Divides the scores of tokens already there; 1 for none.',
  }),
  stop: list({ default: [], scope: 'window', help: 'A text that ends the generation; may be repeated.' }),
  candidates: integer({
    default: 0,
    minimum: 0,
    maximum: 100,
    scope: 'window',
    help: 'Report so many most probable tokens of every exit, those not needed included; 0 for none.',
  }),
};

export const deviceOptions = {
  device: oneOf({
    scope: 'window',
    default: 'auto',
    values: {
      auto: 'a real GPU where there is one, else the CPU',
      cpu: 'the CPU',
      webgpu: 'any GPU, through WebGPU',
      cuda: 'an NVIDIA GPU, through CUDA',
      dml: 'a GPU on Windows, through DirectML',
      coreml: 'a Mac, through CoreML',
    },
    help: 'Where the model runs.',
  }),
  threads: integer({
    default: 0,
    minimum: 0,
    maximum: 1024,
    scope: 'window',
    help: 'Threads of the CPU; 0 for one a core.',
  }),
  precision: oneOf({
    scope: 'window',
    default: 'exact',
    values: { exact: 'activations of 32 bits', fast: 'arithmetic on 8-bit integers where the weights are quantised' },
    help: 'Arithmetic of quantised weights.',
  }),
};

export const exitDeviceOptions = {
  exitDevice: oneOf({
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

export const doctorOptions = {
  install: oneOf({
    default: 'none',
    values: {
      none: 'look only',
      tensorflow: 'build TensorFlow for the CPU into your cache',
      'tensorflow-gpu': 'build TensorFlow for NVIDIA GPUs into your cache',
    },
    help: 'Bring a missing part.',
  }),
};

export const displayOptions = {
  codeLens: boolean({ default: true, scope: 'window', help: 'Preview the exit layers above each generated line.' }),
  colours: boolean({ default: true, scope: 'window', help: 'Colour generated tokens by their exit layer.' }),
  hover: boolean({ default: true, scope: 'window', help: 'Show on hover what every exit would have said.' }),
  inlayHints: boolean({ default: false, scope: 'window', help: 'Show exit layers within the line.' }),
  inlineCompletions: boolean({ default: false, scope: 'window', help: 'Offer generated text while you type.' }),
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
  { title: 'Tuning', prefix: 'tuning', options: tuningOptions },
  { title: 'Decoding', prefix: 'decoding', options: { ...checkpointOptions, ...decodingOptions } },
  { title: 'Evaluation', prefix: 'evaluation', options: { ...evaluationOptions, ...calibrationOptions } },
  { title: 'Display', prefix: 'display', options: displayOptions },
  { title: 'Backend', prefix: 'backend', options: backendOptions },
] as const satisfies readonly {
  title: string;
  prefix: string;
  options: Readonly<Record<string, Option<unknown>>>;
}[];
