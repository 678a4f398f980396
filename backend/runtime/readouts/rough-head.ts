/** The rough copy of a model's head that screened readouts begin with: made once, then kept in the user's cache. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Processor } from '../../ggml/processor.ts';
import { loadScreen, roughBytes, roughCopy, screenOf, type Screen } from '../../ggml/ops/screened.ts';
import { fewBits } from '../../ggml/weight-form.ts';
import type { Weights } from '../../ggml/weights.ts';
import { fileIdentity, writeFileAtomically } from '../../system/files.ts';
import { keepNewest, markUsed, userCache } from '../../system/user-cache.ts';
import type { Model } from '../../model/open.ts';
import type { GgmlOptions } from '../ggml/runtime.ts';

/** Path of the final exit's head. */
export const modelHead = 'lm_head';
const weight = `${modelHead}.weight`;

/** What screens readouts of a model's head on a processor for as long as it is open, if anything does. */
export const headScreen = (processor: Processor, { parameters }: Model, { head, form }: GgmlOptions): Screen | null =>
  head === 'screened' && form === 'stored' ? screenOf(processor, parameters, modelHead) : null;

/** Adds the copies to the weights: the rough one from the cache, else made now. */
export async function loadHeadScreen(
  processor: Processor,
  model: Model,
  weights: Weights,
  screen: Screen,
): Promise<void> {
  const { parameters } = model;
  await loadScreen(weights, parameters, screen, (type, shape) => {
    const file = join(userCache(), folder, copyName(model, `${type} ${shape.join(' ')}`));
    const known = readCopy(file, roughBytes(processor, shape));
    if (known !== null) return known;
    const made = roughCopy(processor, type, parameters.stored(weight), shape);
    keepCopy(file, made);
    return made;
  });
}

const folder = 'heads';
const ending = '.head';
/** Bytes of all copies together. */
const mostKept = 2 ** 31;

/** A name that changes with the model's files. */
const copyName = ({ files }: Model, what: string): string =>
  `${createHash('sha256')
    .update(JSON.stringify([files.map(fileIdentity), what, fewBits]))
    .digest('hex')
    .slice(0, 32)}${ending}`;

function readCopy(file: string, bytes: number): Uint8Array | null {
  try {
    const copy = readFileSync(file);
    markUsed(file);
    return copy.byteLength === bytes ? copy : null;
  } catch {
    return null;
  }
}

/** A cache that cannot be written costs time, nothing else. */
function keepCopy(file: string, copy: Uint8Array): void {
  try {
    writeFileAtomically(file, [copy]);
  } catch {
    return;
  }
  keepNewest(dirname(file), ending, mostKept, [file]);
}
