/**
 * A tuning run as `distributed/` takes it up: everything that is known before it starts, as one JSON file in the run's folder. It
 * knows neither who starts the ranks nor how they compute.
 */
import { readdirSync, rmSync } from 'node:fs';
import path from 'node:path';
import type { TuneOptions } from '../../protocol/options/options.ts';
import type { Mesh } from '../../protocol/options/place.ts';
import { jobFile, jobFolder, type BaseModel } from '../checkpoint/checkpoint.ts';
import { exitParameters, frozenParameters, type ParameterShapes } from '../exits/parameters.ts';
import { architectures, exitCut, hasBranch } from '../exits/architectures.ts';
import type { ExitSpec } from '../exits/spec.ts';
import { copyFile, fileError, makeFolder, writeFileAtomically } from '../system/files.ts';
import { layerPath } from '../model/layer.ts';
import type { FileSample } from './model-files.ts';
import { parameterPlaces } from '../model/sources.ts';
import { cutName, type ModelSpec } from '../model/spec.ts';

/** Of the file; see `distributed/early_exit_distributed/job.py`. */
const version = 3;
export const packageName = 'early_exit_distributed';

export interface JobText {
  /** Token files of `data/texts/token-file.ts`. */
  readonly train: string;
  readonly heldOut: string;
  readonly heldOutTokens: number;
  /** Hash of the windows tuned on. */
  readonly hash: string;
}

export interface NewJob {
  readonly directory: string;
  /** A Hugging Face directory. */
  readonly model: string;
  /** The model as the ranks find it, and samples by which they check that it is the same. */
  readonly onRanks: { readonly model: string; readonly files: Readonly<Record<string, FileSample>> };
  readonly spec: ModelSpec;
  readonly parameters: ParameterShapes;
  readonly base: BaseModel;
  readonly exits: readonly ExitSpec[];
  /** In a run that trains the whole model: the tuned exits with which it begins (their parameters' file); null if the model is frozen. */
  readonly continues: string | null;
  readonly text: JobText;
  readonly options: TuneOptions;
  /** The options as a checkpoint keeps them. */
  readonly tuning: Readonly<Record<string, unknown>>;
  readonly limits: { readonly steps: number | null; readonly epochs: number | null; readonly seconds: number | null };
  readonly mesh: Mesh;
  readonly resume: boolean;
  /** The folder of the Python package's sources. */
  readonly sources: string;
}

/** Options that the ranks read. */
const read = [
  'batchSize',
  'seed',
  'initialise',
  'fitTokens',
  'accumulation',
  'learningRate',
  'backboneLearningRate',
  'finalLearningRate',
  'schedule',
  'warmupFraction',
  'beta1',
  'beta2',
  'epsilon',
  'weightDecay',
  'decay',
  'gradientClip',
  'clip',
  'crossEntropy',
  'distillation',
  'exitWeights',
  'weighting',
  'evaluateEvery',
  'backbonePrecision',
] as const satisfies readonly (keyof TuneOptions)[];

/**
 * Writes a job, its text and the Python package, so that only the run's folder and the model must be shared. Files of an earlier job there
 * are removed.
 * @throws UserError if a file cannot be written.
 */
export function writeJob(job: NewJob): void {
  const folder = path.join(path.resolve(job.directory), jobFolder);
  const { spec, parameters, options } = job;
  const distils = options.distillation > 0;
  const exits = job.exits.map((exit) => ({
    ...exit,
    cut: cutName(exitCut(exit)),
    hasBranch: hasBranch(exit),
    translates: architectures[exit.architecture].translates,
    parameters: exitParameters(spec, exit, parameters),
    frozen: frozenParameters(exit, parameters, distils),
  }));
  const names = new Set([
    'embed_tokens.weight',
    'embed_positions.weight',
    ...['norm', 'lm_head'].flatMap((module) => [`${module}.weight`, `${module}.bias`]),
    ...exits.flatMap((exit) => exit.frozen),
    ...exits.flatMap((exit) => exit.parameters.flatMap(({ source }) => source ?? [])),
    ...exits.filter((exit) => exitCut(exit).at === 'attention').map((exit) => attentionPlace(spec, exit)),
  ]);
  const json = {
    version,
    model: job.onRanks.model,
    files: job.onRanks.files,
    spec,
    base: job.base,
    sources: parameterPlaces(job.model, names),
    exits,
    continues: job.continues && 'exits.safetensors',
    train: 'train.tokens',
    heldOut: 'heldOut.tokens',
    heldOutTokens: job.text.heldOutTokens,
    data: job.text.hash,
    tuning: job.tuning,
    options: Object.fromEntries(read.map((name) => [name, options[name]])),
    limits: job.limits,
    mesh: { pp: job.mesh.pp, dp: job.mesh.dp, tp: job.mesh.tp },
    shard: job.mesh.shard,
    resume: job.resume,
  };
  try {
    rmSync(folder, { recursive: true, force: true });
    makeFolder(folder);
    copyFile(job.text.train, path.join(folder, json.train));
    copyFile(job.text.heldOut, path.join(folder, json.heldOut));
    if (job.continues && json.continues) copyFile(job.continues, path.join(folder, json.continues));
    const files = readdirSync(job.sources).filter((name) => name.endsWith('.py'));
    makeFolder(path.join(folder, packageName));
    for (const name of files) copyFile(path.join(job.sources, name), path.join(folder, packageName, name));
    writeFileAtomically(path.join(folder, jobFile), [`${JSON.stringify(json, null, 1)}\n`]);
  } catch (error) {
    throw fileError(error, 'write', folder);
  }
}

/**
 * The parameter of the module whose input is the stream between attention and MLP; see `distributed/early_exit_distributed/backbone.py`.
 */
function attentionPlace(spec: ModelSpec, exit: ExitSpec): string {
  const layer = layerPath(exit.layer);
  if (spec.parallelResidual) return `${layer}.self_attn.o_proj.weight`;
  const modules = { pre: 'post_attention_layernorm', sandwich: 'pre_feedforward_layernorm', post: 'mlp.up_proj' };
  return `${layer}.${modules[spec.normPlacement]}.weight`;
}
