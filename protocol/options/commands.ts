/** The options of each command as a table of groups, and the types they give: a command's own options are a row here. */
import {
  calibrationOptions,
  checkpointOptions,
  dataOptions,
  decodingOptions,
  deviceOptions,
  evaluationOptions,
  exitDeviceOptions,
  exitsOptions,
  modelOptions,
  placeOptions,
  servedOptions,
  serverOptions,
  tuningOptions,
} from './groups.ts';
import { list, notation, oneOf, optionalText, text, type Option } from './kinds.ts';
import { taskOptions } from './tasks.ts';

const exportOptions = {
  exit: optionalText({ placeholder: 'EXIT', help: 'Which exit, such as 16 or 16:lens.' }),
  format: oneOf({
    default: 'auto',
    values: {
      auto: 'the format of the base',
      hf: 'a Hugging Face directory, for Transformers and vLLM',
      gguf: 'a GGUF file, for llama.cpp and Ollama',
    },
    help: 'What is written.',
  }),
  quantize: oneOf({
    default: 'none',
    values: { none: 'as they are', q8_0: 'blocks of 8 bits', q4_0: 'blocks of 4 bits' },
    help: 'In GGUF: type of matrices that are not quantised yet.',
  }),
  as: oneOf({
    default: 'model',
    values: { model: 'a model of its own', draft: 'a draft for speculative decoding with its base' },
    help: 'Which use the model card explains.',
  }),
  out: optionalText({
    placeholder: 'DIR',
    help: 'Folder to write; by default named after the base and the exit.',
  }),
};

export const importOptions = {
  layers: notation<readonly number[]>({
    default: '8',
    placeholder: 'LAYER,…',
    expected: 'layers from 1 on, such as 8,16,24',
    parse: parseLayers,
    help: 'Without --from: layers after which the model was trained to leave early.',
  }),
  from: optionalText({
    placeholder: 'DIR|FILE',
    help: 'An exported exit of this model, which becomes an exit again.',
  }),
  out: optionalText({ placeholder: 'DIR', help: 'Folder to write; by default named after the model.' }),
};

function parseLayers(text: string): readonly number[] | null {
  const layers = text.split(',').map((each) => (/^[1-9]\d{0,5}$/.test(each.trim()) ? Number(each) : null));
  return layers.includes(null) ? null : [...new Set(layers as number[])];
}

const doctorOptions = {
  install: oneOf({
    default: 'none',
    values: {
      none: 'look only',
      vulkan: "ggml's library for any GPU, into your cache",
      cuda: "ggml's library for NVIDIA GPUs, into your cache",
      tensorflow: 'build TensorFlow for the CPU into your cache',
      'tensorflow-gpu': 'build TensorFlow for NVIDIA GPUs into your cache',
    },
    help: 'Install a missing part.',
  }),
};

const sweepOptions = {
  file: optionalText({
    placeholder: 'FILE.json',
    help: 'The trials: options of tune that all share, and lists of values, of which every combination is a trial (docs/formats.md).',
  }),
  out: optionalText({
    placeholder: 'DIR',
    help: 'Folder for the exits of each trial; the same sweep resumes there. By default the name of the file with .sweep.',
  }),
};

const reportOptions = {
  runs: list({
    default: [],
    notEmpty: true,
    variadic: true,
    placeholder: 'DIR…',
    help: 'Folders that tune, sweep and evaluate --tasks wrote, or folders that contain these.',
  }),
  out: text({ default: 'report.html', placeholder: 'FILE.html', help: 'The page to write.' }),
  figures: optionalText({
    placeholder: 'DIR',
    help: 'Folder for each figure as SVG, and its numbers as CSV, Markdown and LaTeX.',
  }),
};

export type OptionTable = Readonly<Record<string, Option<unknown>>>;
export type OptionValues<Table extends OptionTable> = {
  readonly [Name in keyof Table]: Table[Name] extends Option<infer Value> ? Value : never;
};

/** Groups that several commands share are in groups.ts, and become settings there. */
export const optionTables = {
  tune: {
    ...modelOptions,
    ...exitsOptions,
    ...dataOptions,
    ...tuningOptions,
    ...calibrationOptions,
    device: deviceOptions.device,
    gpuLayers: deviceOptions.gpuLayers,
    threads: deviceOptions.threads,
    ...exitDeviceOptions,
    ...placeOptions,
  },
  evaluate: {
    ...modelOptions,
    ...checkpointOptions,
    data: dataOptions.data,
    sequenceLength: dataOptions.sequenceLength,
    batchSize: dataOptions.batchSize,
    evaluationTokens: dataOptions.evaluationTokens,
    ...evaluationOptions,
    ...taskOptions,
    chat: decodingOptions.chat,
    deferred: decodingOptions.deferred,
    head: decodingOptions.head,
    ...deviceOptions,
  },
  calibrate: {
    ...modelOptions,
    ...checkpointOptions,
    data: dataOptions.data,
    sequenceLength: dataOptions.sequenceLength,
    ...evaluationOptions,
    ...calibrationOptions,
    keepState: tuningOptions.keepState,
    head: decodingOptions.head,
    ...deviceOptions,
  },
  generate: {
    ...modelOptions,
    ...checkpointOptions,
    ...decodingOptions,
    seed: dataOptions.seed,
    ...deviceOptions,
  },
  serve: {
    ...modelOptions,
    ...checkpointOptions,
    ...serverOptions,
    ...servedOptions,
    ...deviceOptions,
  },
  export: { ...modelOptions, ...checkpointOptions, ...exportOptions },
  import: { ...modelOptions, ...importOptions },
  sweep: { ...sweepOptions },
  report: { ...reportOptions },
  doctor: { ...doctorOptions },
} as const satisfies Readonly<Record<string, OptionTable>>;

export type CommandName = keyof typeof optionTables;
export const commandNames = Object.keys(optionTables) as CommandName[];

export type CommandOptions = {
  readonly [Name in CommandName]: OptionValues<(typeof optionTables)[Name]>;
};
export type TuneOptions = CommandOptions['tune'];
export type EvaluateOptions = CommandOptions['evaluate'];
export type CalibrateOptions = CommandOptions['calibrate'];
export type GenerateOptions = CommandOptions['generate'];
export type ServeOptions = CommandOptions['serve'];
export type ExportOptions = CommandOptions['export'];
export type ImportOptions = CommandOptions['import'];
export type SweepOptions = CommandOptions['sweep'];
export type ReportOptions = CommandOptions['report'];
export type DoctorOptions = CommandOptions['doctor'];
