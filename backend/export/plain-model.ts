/**
 * An exit as a plain, shallower model of its own family: its layers, and the parameters with other values. Knows no file. An exit that no
 * plain model can express is refused with the reason.
 */
import { userError, type UserError } from '../../protocol/errors.ts';
import { architectures } from '../exits/architectures.ts';
import { exitId, exitPath, type ExitSpec } from '../exits/spec.ts';
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
  return { exit, layers: exit.layer + plain.layersBehind, parameters: found };
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
  const { head } = exit;
  const own = exitParameters.get(`${path}.head.weight`) ?? null;
  const translator = exitParameters.get(`${path}.translator.weight`) ?? null;
  if (own === null && translator === null) return new Map();
  if (head.kind === 'shortlist') checkShortlist(backbone, exit, format);
  const read = own ?? { shape: parameters.shape('lm_head.weight'), data: parameters.values('lm_head.weight') };
  const weight = translator === null ? read : folded(read, translator);
  const bias = exitParameters.get(`${path}.head.bias`) ?? null;
  if (head.kind === 'shortlist') return expanded(weight, bias, head.tokens, spec.vocabulary);
  return new Map([['weight', weight], ...(bias ? [['bias', bias] as const] : [])]);
}

function checkShortlist({ spec }: Backbone, exit: ExitSpec, format: PlainFormat): void {
  const wayOut = 'Tune the exit with --head own or shared.';
  const reason = (why: string): Error =>
    refused(exit, `its head is a shortlist, whose tokens outside the list share one probability: ${why}`, wayOut);
  if (spec.finalSoftcap !== null)
    throw reason('models of this family cap their logits, and the share is no logit then');
  if (takesHeadBias(spec, format)) return;
  const other = format === 'hf' && takesHeadBias(spec, 'gguf') ? '; --format gguf has one' : '';
  throw reason(
    `that takes a bias of the head, which a model of family ${spec.family} has none of in this format${other}`,
  );
}

/** A lens's translator and the head behind it are one matrix: `[classes, hidden]`. */
function folded({ shape, data }: ParameterValues, translator: ParameterValues): ParameterValues {
  const [rows, hidden] = shape as [number, number];
  return { shape: [rows, hidden], data: product(data, translator.data, [rows, hidden, hidden]) };
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
