/** An exit as data: its place in the stream, its architecture and its head (EE-Tuning, section 3). */
import { architectures, type Architecture } from '../../protocol/options/notations.ts';
import type { ModelSpec } from '../model/spec.ts';

export type ExitArchitecture = Architecture;
export const exitArchitectures = Object.keys(architectures) as readonly ExitArchitecture[];

/**
 * `own`: a trained matrix over the whole vocabulary. `shared`: the model's head, frozen. `shortlist`: a trained matrix over `tokens` (ids)
 * plus one last *defer* class, which represents every other token and never counts as confidence.
 */
export type HeadSpec =
  | { readonly kind: 'own' }
  | { readonly kind: 'shared' }
  | { readonly kind: 'shortlist'; readonly tokens: readonly number[] };

export interface ExitSpec {
  /** Exit layer, counted from 1. */
  readonly layer: number;
  readonly architecture: ExitArchitecture;
  readonly head: HeadSpec;
}

/** An exit's shortlist: the tokens of all its classes but the last, which is *defer*. Null if it has none; the final exit (null) has none. */
export const shortlistOf = (exit: ExitSpec | null): readonly number[] | null =>
  exit?.head.kind === 'shortlist' ? exit.head.tokens : null;

/** Number of classes of an exit's head, or of the final exit's: the vocabulary, or a shortlist and its defer class. */
export function classCount({ vocabulary }: ModelSpec, exit: ExitSpec | null): number {
  const list = shortlistOf(exit);
  return list ? list.length + 1 : vocabulary;
}

/** The different shortlists of some exits, in their order. */
export function shortlistsOf(exits: readonly ExitSpec[]): (readonly number[])[] {
  const lists = new Map<string, readonly number[]>();
  for (const list of exits.map(shortlistOf)) if (list) lists.set(list.join(), list);
  return [...lists.values()];
}

/** Which of `lists` is the exit's; null if it has none. */
export function shortlistIndex(exit: ExitSpec, lists: readonly (readonly number[])[]): number | null {
  const own = shortlistOf(exit);
  return own && lists.findIndex((list) => list === own || list.join() === own.join());
}

/** `8:mlp`: how an exit is named in commands, settings, metrics and traces. */
export const exitId = (exit: Pick<ExitSpec, 'layer' | 'architecture'>): string => `${exit.layer}:${exit.architecture}`;

/** Whether a parameter of an exit is the weight of its head. */
export const isHead = (parameter: string): boolean => parameter.endsWith('.head.weight');

/** Path of an exit's parameters: `exits.8.mlp.norm.weight`, `exits.8.mlp.head.weight` … */
export const exitPath = (exit: Pick<ExitSpec, 'layer' | 'architecture'>): string =>
  `exits.${exit.layer}.${exit.architecture}`;
