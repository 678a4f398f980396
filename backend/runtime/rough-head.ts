/** The rough copy of a model's head that screened readouts begin with: made once, then kept in the user's cache. */
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, rmSync, statSync, utimesSync } from 'node:fs';
import { join } from 'node:path';
import type { Processor } from '../ggml/processor.ts';
import { canScreen, roughBytes, roughCopy, roughPath, roughType } from '../ggml/ops/screened.ts';
import { storedForm } from '../ggml/weight-form.ts';
import type { Weights } from '../ggml/weights.ts';
import { fileIdentity, writeFileAtomically } from '../formats/files.ts';
import { userCache } from '../formats/user-cache.ts';
import type { Model } from '../model/open.ts';
import type { GgmlOptions } from './ggml-runtime.ts';

/** Path of the final exit's head. */
export const modelHead = 'lm_head';
const weight = `${modelHead}.weight`;

/** Whether readouts of a model's head on a processor are screened: always or never, for as long as it is open. */
export const isScreened = (processor: Processor, { parameters }: Model, { head, form }: GgmlOptions): boolean =>
  head === 'screened' && form === 'stored' && canScreen(processor, parameters, modelHead);

/** Adds the copy to the weights: from the cache, else made now. */
export async function loadRoughHead(processor: Processor, model: Model, weights: Weights): Promise<void> {
  const { parameters } = model;
  const shape = parameters.shape(weight) as [number, number];
  await weights.keep(`${roughPath(modelHead)}.weight`, roughType, shape, () => {
    const type = storedForm(parameters, weight)!;
    const file = join(userCache(), folder, copyName(model, `${type} ${shape.join(' ')}`));
    const known = readCopy(file, roughBytes(processor, shape));
    if (known !== null) return known;
    const made = roughCopy(processor, type, parameters.stored(weight), shape);
    keepCopy(file, made);
    return made;
  });
}

const folder = 'heads';
/** Bytes of all copies together; what was used last stays. */
const mostKept = 2 ** 31;

/** A name that changes with the model's files. */
const copyName = ({ files }: Model, what: string): string =>
  `${createHash('sha256')
    .update(JSON.stringify([files.map(fileIdentity), what, roughType]))
    .digest('hex')
    .slice(0, 32)}.head`;

function readCopy(file: string, bytes: number): Uint8Array | null {
  try {
    const copy = readFileSync(file);
    utimesSync(file, new Date(), new Date());
    return copy.byteLength === bytes ? copy : null;
  } catch {
    return null;
  }
}

/** A cache that cannot be written costs time, nothing else. */
function keepCopy(file: string, copy: Uint8Array): void {
  try {
    writeFileAtomically(file, [copy]);
    const directory = join(file, '..');
    const all = readdirSync(directory)
      .map((name) => ({ path: join(directory, name), ...statSync(join(directory, name)) }))
      .sort((a, b) => b.mtimeMs - a.mtimeMs);
    let bytes = 0;
    for (const { path, size } of all) if ((bytes += size) > mostKept) rmSync(path, { force: true });
  } catch {
    return;
  }
}
