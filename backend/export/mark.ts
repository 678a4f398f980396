/** The mark of a plain model that was an exit, so that it can be imported again: a key of config.json, or some keys of GGUF. */
import { openGguf } from '../formats/gguf.ts';
import { textEntry, type GgufEntry } from '../formats/gguf-writer.ts';
import { join } from 'node:path';
import { userError } from '../../protocol/errors.ts';
import { readText } from '../system/files.ts';
import { exitArchitectures, exitId, type ExitSpec } from '../exits/spec.ts';
import type { Model } from '../model/open.ts';
import { formatOf } from './families.ts';

const keys = ['exit', 'head', 'base'] as const;
type Words = Partial<Readonly<Record<(typeof keys)[number], unknown>>>;

const words = (exit: ExitSpec, base: string) => ({ exit: exitId(exit), head: exit.head.kind, base });

/** `base`: SHA-256 of the base's weights. */
export const directoryMark = (exit: ExitSpec, base: string): Readonly<Record<string, object>> => ({
  early_exit: words(exit, base),
});

export const ggufMark = (exit: ExitSpec, base: string): GgufEntry[] =>
  keys.map((key) => textEntry(`early_exit.${key}`, words(exit, base)[key]));

export interface Mark extends Pick<ExitSpec, 'layer' | 'architecture'> {
  readonly head: string;
  readonly base: string;
}

/** @throws UserError `bad-model` for a model that was not exported from here. */
export function markOf(model: Model): Mark {
  const { exit, head, base } = formatOf(model) === 'gguf' ? ggufMarkOf(model.path) : directoryMarkOf(model.path);
  const [, layer, name] = /^([1-9]\d{0,4}):(\w+)$/.exec(typeof exit === 'string' ? exit : '') ?? [];
  const architecture = exitArchitectures.find((each) => each === name);
  if (layer === undefined || !architecture || typeof head !== 'string' || typeof base !== 'string')
    throw userError(
      'bad-model',
      `${model.path} does not say which exit it was.`,
      'Give what early-exit export wrote, or --layers for a model that was trained to leave early.',
    );
  return { layer: Number(layer), architecture, head, base };
}

function ggufMarkOf(path: string): Words {
  const gguf = openGguf(path);
  try {
    return Object.fromEntries(keys.map((key) => [key, gguf.metadata.get(`early_exit.${key}`)]));
  } finally {
    gguf.close();
  }
}

function directoryMarkOf(path: string): Words {
  const config = JSON.parse(readText(join(path, 'config.json'))) as Record<string, unknown>;
  const mark = config['early_exit'];
  return typeof mark === 'object' && mark !== null ? mark : {};
}
