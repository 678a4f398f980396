/**
 * The cost of passes of several tokens, kept in the user's cache by model, device and processor. Measuring takes about half a second, so
 * only recipes that take longer measure, before their text: calibrating and serving. A generation reads the stored table.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { join } from 'node:path';
import type { GenerateOptions } from '../../../protocol/options/options.ts';
import { measurePasses } from '../../decoding/drafts/costs.ts';
import type { PassRatios, PassTable } from '../../decoding/drafts/pace.ts';
import { fileIdentity, writeFileAtomically } from '../../system/files.ts';
import { userCache } from '../../system/user-cache.ts';
import type { Model } from '../../model/open.ts';
import type { StagedModel } from '../../runtime/staged-model.ts';

/** On what passes run. */
export interface PassPlace {
  readonly files: readonly string[];
  readonly device: string;
  readonly options: readonly (string | number)[];
}

const fileName = 'passes.json';
/** The last ones stay. */
const mostKept = 64;

/** The key of a table: a model, its device and the options that change the cost of passes. */
export const passPlace = (
  { files }: Pick<Model, 'files'>,
  device: string,
  { precision, head, threads }: Pick<GenerateOptions, 'precision' | 'head' | 'threads'>,
): PassPlace => ({ files, device, options: [precision, head, threads] });

/** As kept, else measured now, and kept if the rounds agreed. */
export async function passesOf(model: StagedModel, place: PassPlace): Promise<PassTable> {
  const known = readPasses(place);
  if (known) return known;
  const { table, isSteady } = await measurePasses(model);
  if (isSteady) keepPasses(place, table);
  return table;
}

/** Null if nothing is known, or the file was not written by this program. */
export const readPasses = (place: PassPlace): PassTable | null =>
  readAll().find(([key]) => key === keyOf(place))?.[1] ?? null;

/** A cache that cannot be written costs time, nothing else. */
export function keepPasses(place: PassPlace, table: PassTable): void {
  const key = keyOf(place);
  const others = readAll().filter(([other]) => other !== key);
  try {
    const all = [...others, [key, table]].slice(-mostKept);
    writeFileAtomically(join(userCache(), fileName), [Buffer.from(JSON.stringify(all))]);
  } catch {
    return;
  }
}

const keyOf = ({ files, device, options }: PassPlace): string =>
  createHash('sha256')
    .update(JSON.stringify([files.map(fileIdentity), device, options, cpus()[0]?.model, cpus().length]))
    .digest('hex')
    .slice(0, 32);

function readAll(): (readonly [key: string, table: PassTable])[] {
  try {
    const all: unknown = JSON.parse(readFileSync(join(userCache(), fileName), 'utf8'));
    return Array.isArray(all) ? all.filter(isKept) : [];
  } catch {
    return [];
  }
}

const isKept = (entry: unknown): entry is readonly [string, PassTable] => {
  if (!Array.isArray(entry) || typeof entry[0] !== 'string') return false;
  const table = entry[1] as Partial<PassTable> | null;
  return isRatios(table?.layers) && isRatios(table?.readings);
};

/** Ascending from one token on, and above zero. */
const isRatios = (value: unknown): value is PassRatios =>
  Array.isArray(value) &&
  value.length > 0 &&
  value.every((pair: unknown, i) => {
    if (!Array.isArray(pair) || pair.length !== 2) return false;
    const [tokens, ratio] = pair as unknown[];
    const before = i === 0 ? 0 : (value[i - 1] as readonly number[])[0]!;
    return Number.isInteger(tokens) && (tokens as number) > before && typeof ratio === 'number' && ratio > 0;
  });
