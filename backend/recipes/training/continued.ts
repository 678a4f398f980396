/**
 * Facts about training a whole model further, here or on PyTorch: the exits with which it begins, what is not possible, and the new model
 * that results, with its exits.
 */
import path from 'node:path';
import { userError } from '../../../protocol/errors.ts';
import { meshText, type Mesh } from '../../../protocol/options/place.ts';
import type { TuneOptions } from '../../../protocol/options/options.ts';
import { shippedModel } from '../../../protocol/options/groups.ts';
import {
  isCheckpoint,
  openCheckpoint,
  readInfo,
  type BaseModel,
  type Checkpoint,
  type CheckpointInfo,
} from '../../checkpoint/checkpoint.ts';
import { openBest } from '../../checkpoint/continued.ts';
import { writeExits } from '../../checkpoint/writer.ts';
import { weightsFile, writeContinued } from '../../export/continued.ts';
import { statOf } from '../../system/files.ts';
import type { TensorData } from '../../formats/safetensors.ts';
import { cardTag } from '../../formats/our-folders.ts';
import type { TensorInfo, TensorSource } from '../../formats/tensor-source.ts';
import { openModel, type Model } from '../../model/open.ts';
import { isMixture } from '../../model/spec.ts';
import { identify } from '../opening/opened.ts';

/** The model that a run trains further: the one that is named, else that of the exits with which it begins. */
export function modelToContinue({ continuePretraining, model, resume }: TuneOptions): string {
  if (continuePretraining === null || resume || model !== shippedModel) return model;
  const named = readInfo(continuePretraining).tuning['model'];
  return typeof named === 'string' ? named : model;
}

/**
 * The tuned exits with which a run begins.
 * @throws UserError if they belong to another model, or `--exits` names others.
 */
export function exitsToContinue({ continuePretraining, exits }: TuneOptions, base: BaseModel): Checkpoint {
  if (exits.kind !== 'auto')
    throw userError(
      'bad-argument',
      `With --continue-pretraining the exits are those of ${continuePretraining}.`,
      'Leave --exits out.',
    );
  return openCheckpoint(continuePretraining!, base);
}

/** @throws UserError for a model that cannot be written as it would have to be, or that nothing here trains. */
export function requireContinuable({ name, spec, stored }: Model): void {
  if (stored.kind !== 'directory')
    throw userError(
      'unsupported',
      `${name} is a GGUF file, and a model that is trained further is written as a Hugging Face directory.`,
      'Give the directory of the original model.',
    );
  if (isMixture(spec))
    throw userError('unsupported', `${name} is a mixture of experts, and those are not trained further.`);
}

/** @throws UserError if a card is requested: the whole model is trained on the CPU here. */
export function requireCpu({ device, exitDevice }: TuneOptions): void {
  const named = [device, exitDevice].find((each) => each !== 'auto' && each !== 'cpu');
  if (named === undefined) return;
  throw userError(
    'unsupported',
    `A whole model is trained on the CPU here, but ${named} was requested.`,
    'Leave the device out, or train it in PyTorch (--on torchrun).',
  );
}

/** @throws UserError for a mesh with stages, parts of layers or sharded weights: every rank trains the whole model. */
export function requireReplicas(mesh: Mesh): void {
  if (mesh.pp === 1 && mesh.tp === 1 && !mesh.shard) return;
  throw userError(
    'unsupported',
    `With --continue-pretraining every rank trains the whole model, and --mesh ${meshText(mesh)} divides it.`,
    'Divide windows alone, as --mesh dp=2 does.',
  );
}

/** Whether a checkpoint is of a run that trains the whole model. */
export const isContinued = ({ tuning }: CheckpointInfo): boolean => typeof tuning['continuePretraining'] === 'string';

/** Whether options begin or resume a run of this kind. */
export const isWholeRun = ({ continuePretraining, resume, out }: TuneOptions): boolean =>
  resume ? out !== null && isCheckpoint(out) && isContinued(readInfo(out)) : continuePretraining !== null;

/** The folder of a run's new model: beside its exits, with their name without `.exits`. */
function newModelFolder(directory: string): string {
  const whole = path.resolve(directory);
  return whole.endsWith('.exits') ? whole.slice(0, -'.exits'.length) : `${whole}-model`;
}

/** @throws UserError if something else is in its place. */
export function requireRoom(directory: string): void {
  const folder = newModelFolder(directory);
  if (statOf(folder) !== null)
    throw userError(
      'file-system',
      `${folder}, in which the new model would be written, exists already.`,
      'Name another folder (--out).',
    );
}

/**
 * Writes the best values of a run as a new model and its exits: first the model, then the exits, which belong to the new model from then
 * on. If the process is killed in between, the exits name another model than the new one; every command says so, and `--resume` mends it.
 * Returns the path of the model.
 * @throws UserError if the values cannot be read or written.
 */
export async function publish(directory: string): Promise<string> {
  const folder = newModelFolder(directory);
  const opened = openCheckpoint(directory, null);
  opened.close();
  const began = String(opened.tuning['model']);
  const best = openBest(directory);
  try {
    const tensors = best.model.map((tensor) => dataOf(best.source, tensor));
    writeContinued(folder, began, tensors, modelCard(path.basename(folder), opened, path.basename(directory)));
    const model = openModel(folder);
    const base = await identify(model).finally(() => model.close());
    const shapes = new Map([...best.exits].map(([name, { shape }]) => [name, shape]));
    const values = new Map([...best.exits].map(([name, tensor]) => [name, floatsOf(best.source.read(tensor))]));
    // The model may be the one that was published before, for which its exits are calibrated.
    const calibration = opened.base.sha256 === base.sha256 ? opened.calibration : null;
    const info = { base, exits: opened.exits, tuning: { ...opened.tuning, model: folder }, calibration };
    writeExits(directory, info, values, shapes, best.progress);
    return folder;
  } finally {
    best.source.close();
  }
}

/** Bytes of a tensor copied at a time. */
const pieceBytes = 2 ** 26;

function dataOf(source: TensorSource, tensor: TensorInfo): TensorData {
  const { name, type, shape, bytes } = tensor;
  function* pieces(): Generator<Uint8Array> {
    for (let at = 0; at < bytes; at += pieceBytes) yield source.read(tensor, at, Math.min(pieceBytes, bytes - at));
  }
  return { name, type, shape, bytes: { [Symbol.iterator]: pieces } };
}

const floatsOf = (bytes: Uint8Array): Float32Array =>
  new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);

function modelCard(name: string, { base }: Checkpoint, exits: string): string {
  return `---
${cardTag}
---
# ${name}

${base.name} (${base.family}), of which all parameters were trained further together with early exits, by Early Exit. Its licence holds for
this model, too. The exits are in \`${exits}\`, and fit no other weights than those of \`${weightsFile}\`:

    early-exit generate --model ${name} --exits ${exits} --prompt "…"
`;
}
