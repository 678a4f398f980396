/** Whether a model that lies in several files is here whole: a link that leads nowhere is a file that was not downloaded to its end. */
import { existsSync, readdirSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { readText } from '../system/files.ts';
import { partsOf } from './files.ts';

/** Whether all shards are in a folder that its index names; not so without an index. */
export function hasAllShards(folder: string): boolean {
  try {
    const index = JSON.parse(readText(join(folder, 'model.safetensors.index.json'))) as {
      weight_map: Record<string, string>;
    };
    return Object.values(index.weight_map).every((shard) => existsSync(join(folder, basename(shard))));
  } catch {
    return false;
  }
}

/** Whether a file is there, and of a GGUF file that is one of several parts all others beside it. */
export function hasAllParts(file: string): boolean {
  if (!existsSync(file)) return false;
  const folder = dirname(file);
  const beside = readdirSync(folder).map((name) => ({ path: join(folder, name) }));
  const { parts, count } = partsOf({ path: file }, beside);
  return parts.length === count && parts.every(({ path }) => existsSync(path));
}
