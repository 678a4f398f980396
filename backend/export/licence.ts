/** What a model's files call its licence. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { readText } from '../system/files.ts';
import { openGguf } from '../formats/gguf.ts';
import type { Model } from '../model/open.ts';

/** A name such as `apache-2.0`; null if the files have none. */
export function licenceOf({ stored, path }: Pick<Model, 'stored' | 'path'>): string | null {
  const named = stored.kind === 'gguf' ? ofGguf(path) : ofCard(join(path, 'README.md'));
  return typeof named === 'string' && /^[\w.+-]{1,64}$/.test(named) ? named : null;
}

function ofGguf(file: string): unknown {
  const gguf = openGguf(file);
  try {
    return gguf.metadata.get('general.license');
  } finally {
    gguf.close();
  }
}

/** The front matter of a card on the hub. */
function ofCard(file: string): string | undefined {
  if (!existsSync(file)) return undefined;
  const [, front = ''] = /^---\r?\n(.*?)\r?\n---/s.exec(readText(file)) ?? [];
  return /^license:\s*["']?([^"'\s]+)/m.exec(front)?.[1];
}
