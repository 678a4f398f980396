/**
 * The trained parameters of an exit: an explicit list, so that what is trained, saved and loaded is the same set. Knows
 * names and shapes, no values.
 */
import { userError } from '../../protocol/errors.ts';
import { shorten } from '../formats/safetensors.ts';
import type { Parameters } from '../model/parameters.ts';
import type { ModelSpec } from '../model/spec.ts';
import { architectures } from './architectures.ts';
import { classCount, exitId, exitPath, type ExitSpec } from './spec.ts';

/** What an exit learns of the backbone's parameters: which exist (biases are data) and their shapes. */
export type ParameterShapes = Pick<Parameters, 'has' | 'shape'>;

export interface ExitParameter {
  /** `exits.8.mlp.norm.weight`. */
  readonly name: string;
  /** A linear weight is `[out, in]`. */
  readonly shape: readonly number[];
  /** The backbone's parameter that a copy starts from; null for a translator. A shortlist takes only its rows, or entries. */
  readonly source: string | null;
}

export const isMatrix = ({ shape }: Pick<ExitParameter, 'shape'>): boolean => shape.length > 1;

export const parameterSize = ({ shape }: Pick<ExitParameter, 'shape'>): number => shape.reduce((a, b) => a * b, 1);

/**
 * The parameters that tuning trains for one exit. They include a bias if the backbone's counterpart has one.
 * @throws UserError if the exit would train nothing: `embedding` with the model's own head.
 */
export function exitParameters(spec: ModelSpec, exit: ExitSpec, backbone: ParameterShapes): ExitParameter[] {
  const path = exitPath(exit);
  const copies = (target: string, source: string): ExitParameter[] =>
    ['weight', 'bias']
      .filter((kind) => backbone.has(`${source}.${kind}`))
      .map((kind) => ({
        name: `${path}.${target}.${kind}`,
        shape: backbone.shape(`${source}.${kind}`),
        source: `${source}.${kind}`,
      }));
  const list = architectures[exit.architecture]
    .modules(spec, exit)
    .flatMap(({ own, copyOf }) =>
      copyOf === null
        ? [{ name: `${path}.${own}.weight`, shape: [spec.hidden, spec.hidden], source: null }]
        : copies(own, copyOf),
    );
  if (exit.head.kind !== 'shared') {
    const classes = classCount(spec, exit);
    list.push(...copies('head', 'lm_head').map((each) => ({ ...each, shape: [classes, ...each.shape.slice(1)] })));
  }
  if (!list.length) {
    throw userError(
      'bad-argument',
      `The exit ${exitId(exit)} with a shared head has nothing to train.`,
      'Give it an own or a shortlisted head, or choose another architecture.',
    );
  }
  return list;
}

/** Names of the backbone's parameters that an exit reads and never changes; `distils` adds the head of its teacher. */
export function frozenParameters(exit: ExitSpec, backbone: ParameterShapes, distils: boolean): string[] {
  const modules = [...architectures[exit.architecture].reads(exit)];
  if (exit.head.kind === 'shared' || distils) modules.push('lm_head');
  return modules.flatMap((module) => [`${module}.weight`, `${module}.bias`]).filter((name) => backbone.has(name));
}

/**
 * Checks that exactly the listed parameters are there, each of its shape.
 * @throws UserError `bad-checkpoint` naming the first that is missing, unknown or of another shape; `origin` is the file.
 */
export function checkShapes(
  expected: readonly ExitParameter[],
  found: ReadonlyMap<string, readonly number[]>,
  origin: string,
): void {
  checkNames(expected, found, origin);
  for (const { name, shape } of expected) {
    const other = found.get(name)!;
    if (other.join() !== shape.join()) {
      const sentence = `${origin}: "${name}" has the shape [${other.join(', ')}], but the model's exit has [${shape.join(', ')}].`;
      throw userError('bad-checkpoint', sentence, tuneAgain);
    }
  }
}

/**
 * Checks that `values` has exactly the listed parameters, each with as many numbers as its shape.
 * @throws UserError `bad-checkpoint` naming the first that is missing, unknown or of another size; `origin` is the file.
 */
export function checkParameters(
  expected: readonly ExitParameter[],
  values: ReadonlyMap<string, { readonly length: number }>,
  origin: string,
): void {
  checkNames(expected, values, origin);
  for (const parameter of expected) {
    const { length } = values.get(parameter.name)!;
    if (length !== parameterSize(parameter)) {
      const sentence = `${origin}: "${parameter.name}" has ${length} numbers, but its shape is [${parameter.shape.join(', ')}].`;
      throw userError('bad-checkpoint', sentence, tuneAgain);
    }
  }
}

const tuneAgain = 'Tune the exits again, or use the checkpoint with the model it was made for.';

function checkNames(expected: readonly ExitParameter[], found: ReadonlyMap<string, unknown>, origin: string): void {
  const names = new Set(expected.map(({ name }) => name));
  for (const name of found.keys()) {
    if (!names.has(name))
      throw userError('bad-checkpoint', `${origin} holds an unknown parameter "${shorten(name)}".`, tuneAgain);
  }
  for (const { name } of expected) {
    if (!found.has(name)) throw userError('bad-checkpoint', `${origin} lacks the parameter "${name}".`, tuneAgain);
  }
}
