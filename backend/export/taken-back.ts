/** A plain model taken back as the exit that it was. Knows no checkpoint. */
import { userError } from '../../protocol/errors.ts';
import { architectures } from '../exits/architectures.ts';
import { exitParameters } from '../exits/parameters.ts';
import { exitId, exitPath, type ExitSpec } from '../exits/spec.ts';
import type { Model } from '../model/open.ts';
import type { ParameterValues } from '../model/overlay.ts';
import { markOf } from './mark.ts';

export interface TakenBack {
  readonly exit: ExitSpec;
  readonly parameters: ReadonlyMap<string, ParameterValues>;
  /** Differences from the exit that was exported, as whole sentences. */
  readonly changes: readonly string[];
}

/**
 * The parameters are the plain model's, bit for bit if it has them in float32.
 * @param sha256 of the weights of `base`.
 * @throws UserError if the plain model is no exit of this base, or its head no exit's.
 */
export function takeBack(base: Pick<Model, 'spec' | 'name' | 'parameters'>, sha256: string, plain: Model): TakenBack {
  const { layer, architecture, head, base: marked } = markOf(plain);
  if (marked !== sha256)
    throw userError(
      'wrong-base-model',
      `${plain.path} is an exit of another model than ${base.name}.`,
      'Give the model that it was exported from as --model.',
    );
  const { plain: form, translates } = architectures[architecture];
  if (head === 'shortlist' || 'reason' in form)
    throw userError(
      'unsupported',
      `The head of ${plain.path} is a shortlist that was expanded, which is not taken back.`,
    );
  const exit: ExitSpec = {
    layer,
    architecture: form.takenBackAs,
    head: { kind: translates || head === 'own' ? 'own' : 'shared' },
  };
  /** What a parameter of the exit is called in the plain model. */
  const plainName = (name: string): string => {
    const [own, place] = [['head', 'lm_head'] as const, ...form.modules(exit)].find(([own]) =>
      name.startsWith(`${own}.`),
    )!;
    return `${place}${name.slice(own.length)}`;
  };
  const parameters = new Map<string, ParameterValues>();
  const rounded = new Set<string>();
  for (const { name, shape } of exitParameters(base.spec, exit, base.parameters)) {
    const from = plainName(name.slice(exitPath(exit).length + 1));
    if (!plain.parameters.has(from) || plain.parameters.shape(from).join() !== shape.join())
      throw userError('bad-model', `${plain.path} has no "${from}" of the shape [${shape.join(', ')}].`);
    parameters.set(name, { shape, data: plain.parameters.values(from) });
    const type = plain.parameters.storedType(from);
    if (type !== null && type !== 'F32') rounded.add(type);
  }
  const changes = [
    ...(translates
      ? [
          `The lens and the head behind it are one matrix in a plain model: they come back as ${exitId(exit)} with a head of its own, which predicts the same.`,
        ]
      : []),
    ...(rounded.size > 0 ? [`Its matrices have the rounding of ${[...rounded].join(' and ')}.`] : []),
  ];
  return { exit, parameters, changes };
}
