/**
 * The memories of a checkpoint's exits (exits/memory.ts) and their trust in the text (exits/trust.ts), in a file of their own: they follow
 * from the frozen model alone, so that no update changes them. Knows no runtime.
 */
import * as path from 'node:path';
import { userError } from '../../protocol/errors.ts';
import { nullable, number, readMessage, record, table } from '../../protocol/shapes.ts';
import { entryWidth, memoryCuts, memoryPath, memoryRows, type MemoryErrors, type MemoryMap } from '../exits/memory.ts';
import type { ExitSpec } from '../exits/spec.ts';
import { trustPath } from '../exits/trust.ts';
import { statOf } from '../system/files.ts';
import {
  bytesOf,
  openSafetensors,
  readSafetensorsMetadata,
  shorten,
  writeSafetensors,
} from '../formats/safetensors.ts';
import type { TensorInfo, TensorSource } from '../formats/tensor-source.ts';
import { memoryFile } from '../formats/our-folders.ts';
import type { ParameterValues } from '../model/overlay.ts';
import { cutName, cutWidth, type ModelSpec } from '../model/spec.ts';
import { bad } from './fields.ts';

/** A memory with its errors on tokens that were kept apart from its fit, and trust in the text at its cut. */
export interface KeptMemory extends MemoryMap {
  readonly errors: MemoryErrors | null;
  /** `[width + 1]`; null if there was no text to learn it from. See exits/trust.ts. */
  readonly trust: Float32Array | null;
}

/** Writes the memories of cuts, by cut name; none: no file. @throws UserError `file-system`. */
export function writeMemories(directory: string, spec: ModelSpec, memories: ReadonlyMap<string, KeptMemory>): void {
  if (memories.size === 0) return;
  const tensors = [...memories].flatMap(([cut, { weight, bias, trust }]) => [
    { name: `memory.${cut}.weight`, type: 'F32' as const, shape: [bias.length, spec.hidden], bytes: bytesOf(weight) },
    { name: `memory.${cut}.bias`, type: 'F32' as const, shape: [bias.length], bytes: bytesOf(bias) },
    ...(trust ? [{ name: `trust.${cut}`, type: 'F32' as const, shape: [trust.length], bytes: bytesOf(trust) }] : []),
  ]);
  const errors = Object.fromEntries([...memories].map(([cut, each]) => [cut, each.errors]));
  writeSafetensors(path.join(directory, memoryFile), tensors, { errors: JSON.stringify(errors) });
}

/** Of a file's `errors`, by cut name. */
const errorsShape = table(nullable(record({ fitted: record({ keys: number, values: number }) })));

/** The errors of a folder's memories, by cut name; empty if the file has none that can be read, as of an earlier version. */
export function readMemoryErrors(directory: string): ReadonlyMap<string, Pick<MemoryErrors, 'fitted'>> {
  const file = path.join(directory, memoryFile);
  const text = statOf(file)?.isFile() ? readSafetensorsMetadata(file).get('errors') : undefined;
  try {
    const errors = text === undefined ? {} : readMessage(file, errorsShape, JSON.parse(text));
    return new Map(Object.entries(errors).flatMap(([cut, each]) => (each ? [[cut, each] as const] : [])));
  } catch {
    return new Map();
  }
}

/**
 * The memories of some exits, and their trust, by parameter name; none if an earlier version wrote the exits.
 * @throws UserError `bad-checkpoint` naming a memory of another shape, or a damaged file.
 */
export function readMemories(
  directory: string,
  spec: ModelSpec,
  exits: readonly ExitSpec[],
): Map<string, ParameterValues> {
  const file = path.join(directory, memoryFile);
  const memories = new Map<string, ParameterValues>();
  if (!statOf(file)?.isFile()) return memories;
  const source = openSafetensors(file);
  try {
    for (const cut of memoryCuts(spec, exits)) {
      const rows = memoryRows(spec, cut);
      for (const [kind, shape] of [
        ['weight', [rows, spec.hidden]],
        ['bias', [rows]],
      ] as const) {
        const name = `${memoryPath(cut)}.${kind}`;
        const tensor = source.tensors.get(name);
        // If a cut has no memory in the file, its exits have none.
        if (!tensor && kind === 'weight') break;
        if (!tensor) throw bad(file, `${name} is missing`);
        if (tensor.type !== 'F32' || tensor.shape.join() !== shape.join())
          throw userError(
            'bad-checkpoint',
            `${file}: the memory at ${shorten(cutName(cut))} has the shape [${tensor.shape.join(', ')}], but the ${spec.layers.length - cut.layer} attentions behind it, of ${entryWidth(spec)} keys each, take [${shape.join(', ')}].`,
            'Tune the exits again, or delete that file to go on without memories.',
          );
        memories.set(name, { shape, data: floatsOf(file, source, tensor) });
      }
      const trust = source.tensors.get(trustPath(cut));
      const shape = [cutWidth(spec, cut) + 1];
      if (!trust) continue;
      if (trust.type !== 'F32' || trust.shape.join() !== shape.join())
        throw bad(file, `${trustPath(cut)} does not have the shape [${shape.join()}]`);
      memories.set(trustPath(cut), { shape, data: floatsOf(file, source, trust) });
    }
    return memories;
  } finally {
    source.close();
  }
}

function floatsOf(file: string, source: TensorSource, tensor: TensorInfo): Float32Array {
  const bytes = source.read(tensor);
  const data = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
  if (!data.every(Number.isFinite)) throw bad(file, `${shorten(tensor.name)} holds values that are not finite`);
  return data;
}
