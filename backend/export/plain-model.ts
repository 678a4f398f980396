/**
 * An exit as a plain, shallower model of its own family: its layers, and the parameters with other values. Knows no file. An exit that no
 * plain model can express is refused with the reason.
 */
import { userError, type UserError } from '../../protocol/errors.ts';
import { architectures } from '../exits/architectures.ts';
import { exitId, exitPath, shortlistOf, type ExitSpec } from '../exits/spec.ts';
import type { Model } from '../model/open.ts';
import type { ParameterValues } from '../model/overlay.ts';
import { takesHeadBias, type PlainFormat } from './families.ts';
import { product } from './product.ts';

export interface PlainModel {
  readonly exit: ExitSpec;
  /** Layers that it has. */
  readonly layers: number;
  /** Its parameters that are not the backbone's, by their names in the plain model. */
  readonly parameters: ReadonlyMap<string, ParameterValues>;
  /** Whether tokens outside the exit's shortlist have the base's own rows of the head: they share one probability in the exit. */
  readonly borrowsRows: boolean;
}

type Backbone = Pick<Model, 'spec' | 'parameters'>;

/** @throws UserError `unsupported` if no plain model of the format computes what the exit does. */
export async function plainModel(
  backbone: Backbone,
  exit: ExitSpec,
  exitParameters: ReadonlyMap<string, ParameterValues>,
  format: PlainFormat,
): Promise<PlainModel> {
  const path = exitPath(exit);
  const found = new Map<string, ParameterValues>();
  /** Parameters of the exit under the path `from` become those of the model under the path `to`. */
  const take = (from: string, to: string): void => {
    for (const [name, value] of exitParameters)
      if (name.startsWith(`${path}.${from}.`)) found.set(`${to}${name.slice(path.length + 1 + from.length)}`, value);
  };
  const { plain } = architectures[exit.architecture];
  if ('reason' in plain) throw refused(exit, plain.reason);
  const refusal = plain.refusal(backbone, exit);
  if (refusal !== null) throw refused(exit, refusal);
  for (const [from, to] of plain.modules(exit)) take(from, to);
  for (const [kind, value] of await plainHead(backbone, exit, exitParameters, format))
    found.set(`lm_head.${kind}`, value);
  const borrowsRows = shortlistOf(exit) !== null && !canShare(backbone, format);
  return { exit, layers: exit.layer + plain.layersBehind, parameters: found, borrowsRows };
}

/** `weight` and `bias` of the head if they are not the model's own: with a lens's translator in it, over the whole vocabulary. */
async function plainHead(
  backbone: Backbone,
  exit: ExitSpec,
  exitParameters: ReadonlyMap<string, ParameterValues>,
  format: PlainFormat,
): Promise<Map<string, ParameterValues>> {
  const { spec, parameters } = backbone;
  const path = exitPath(exit);
  const list = shortlistOf(exit);
  const own = exitParameters.get(`${path}.head.weight`) ?? null;
  const translator = exitParameters.get(`${path}.translator.weight`) ?? null;
  if (own === null && translator === null) return new Map();
  const base = (): ParameterValues => ({
    shape: parameters.shape('lm_head.weight'),
    data: parameters.values('lm_head.weight'),
  });
  const fold = (rows: ParameterValues): ParameterValues => (translator === null ? rows : folded(rows, translator));
  if (own === null) return new Map([['weight', fold(base())]]);
  const bias = exitParameters.get(`${path}.head.bias`) ?? null;
  if (!list) return new Map([['weight', fold(own)], ...(bias ? [['bias', bias] as const] : [])]);
  if (canShare(backbone, format)) return expanded(fold(own), bias, list, spec.vocabulary);
  return new Map([['weight', fold(completed(own, base(), list))]]);
}

/** Whether tokens outside a shortlist can have their share of one probability: that is a bias of the head, and nothing caps logits. */
const canShare = ({ spec }: Backbone, format: PlainFormat): boolean =>
  spec.finalSoftcap === null && takesHeadBias(spec, format);

/** A lens's translator and the head behind it are one matrix: `[classes, hidden]`. */
function folded({ shape, data }: ParameterValues, translator: ParameterValues): ParameterValues {
  const [rows, hidden] = shape as [number, number];
  return { shape: [rows, hidden], data: product(data, translator.data, [rows, hidden, hidden]) };
}

/** A shortlist over the whole vocabulary `[vocabulary, hidden]`: tokens outside have the base's rows, which its rows were made of. */
function completed({ data }: ParameterValues, base: ParameterValues, tokens: readonly number[]): ParameterValues {
  const hidden = base.shape[1]!;
  const weight = Float32Array.from(base.data);
  for (const [row, token] of tokens.entries())
    weight.set(data.subarray(row * hidden, (row + 1) * hidden), token * hidden);
  return { shape: base.shape, data: weight };
}

/**
 * A shortlist over the whole vocabulary `[vocabulary, hidden]`: each token outside it has the row of the defer class. All n of them share
 * its probability, so its logit is smaller by ln n.
 */
function expanded(
  { shape, data }: ParameterValues,
  own: ParameterValues | null,
  tokens: readonly number[],
  vocabulary: number,
): Map<string, ParameterValues> {
  const hidden = shape[1]!;
  const outside = Math.max(1, vocabulary - tokens.length);
  const rows = new Int32Array(vocabulary).fill(tokens.length);
  for (const [row, token] of tokens.entries()) rows[token] = row;
  const weight = new Float32Array(vocabulary * hidden);
  for (const [token, row] of rows.entries())
    weight.set(data.subarray(row * hidden, (row + 1) * hidden), token * hidden);
  const bias = Float32Array.from(
    rows,
    (row) => (own?.data[row] ?? 0) - (row === tokens.length ? Math.log(outside) : 0),
  );
  return new Map([
    ['weight', { shape: [vocabulary, hidden], data: weight }],
    ['bias', { shape: [vocabulary], data: bias }],
  ]);
}

export const refused = (exit: ExitSpec, reason: string, wayOut?: string): UserError =>
  userError('unsupported', `The exit ${exitId(exit)} is no plain model: ${reason}.`, wayOut);
