/**
 * An exit as a plain, shallower model of its own family: which layers stay, and which parameters take another value. Knows no
 * file. What no plain model can say is refused with the reason.
 */
import { userError, type UserError } from '../../protocol/errors.ts';
import { exitId, exitPath, type ExitSpec } from '../exits/spec.ts';
import { layerPath } from '../model/layer.ts';
import type { Model } from '../model/open.ts';
import type { HeldParameter } from '../model/overlay.ts';
import { product } from './product.ts';

export interface PlainModel {
  /** Layers that it has. */
  readonly layers: number;
  /** Its parameters that are not the backbone's, by their names in the plain model. */
  readonly parameters: ReadonlyMap<string, HeldParameter>;
}

type Backbone = Pick<Model, 'spec' | 'parameters'>;

/** @throws UserError `unsupported` where no plain model computes what the exit does. */
export async function plainModel(
  { spec, parameters }: Backbone,
  exit: ExitSpec,
  held: ReadonlyMap<string, HeldParameter>,
): Promise<PlainModel> {
  const path = exitPath(exit);
  checkHead(exit);
  const found = new Map<string, HeldParameter>();
  /** Takes what lies under `from` of the exit as what lies under `to` of the model. */
  const take = (from: string, to: string): void => {
    for (const [name, value] of held)
      if (name.startsWith(`${path}.${from}.`)) found.set(`${to}${name.slice(path.length + 1 + from.length)}`, value);
  };
  take('norm', 'norm');
  if (exit.head.kind === 'own') take('head', 'lm_head');
  switch (exit.architecture) {
    case 'embedding':
      throw refused(exit, 'its head reads the stream without a norm, and every model of this family has one');
    case 'norm':
      return { layers: exit.layer, parameters: found };
    case 'lens':
      found.set('lm_head.weight', await foldedHead(parameters, exit, held));
      return { layers: exit.layer, parameters: found };
    case 'mlp':
      if (spec.layers[exit.layer - 1]!.mixture)
        throw refused(exit, `its MLP is dense, and layer ${exit.layer} of this model is a mixture of experts`);
      take('mlp', `${layerPath(exit.layer)}.mlp`);
      return { layers: exit.layer, parameters: found };
    case 'layer': {
      if (spec.layers.at(-1)!.mixture)
        throw refused(exit, 'its layer is dense, and layers of this model are mixtures of experts');
      const own = spec.layers[exit.layer];
      if (own && JSON.stringify(own) !== JSON.stringify(spec.layers.at(-1)))
        throw refused(
          exit,
          `its layer turns and looks as the model's last does, and layer ${exit.layer + 1} of the model otherwise`,
        );
      take('layer', layerPath(exit.layer + 1));
      return { layers: exit.layer + 1, parameters: found };
    }
  }
}

function checkHead(exit: ExitSpec): void {
  if (exit.head.kind !== 'shortlist') return;
  throw refused(
    exit,
    'its head is a shortlist, whose tokens outside the list share one probability: a plain head has no bias that could say so',
    'Tune the exit with --head own or shared.',
  );
}

/** A lens's translator and the head behind it are one matrix: `[vocabulary, hidden]`. */
async function foldedHead(
  parameters: Backbone['parameters'],
  exit: ExitSpec,
  held: ReadonlyMap<string, HeldParameter>,
): Promise<HeldParameter> {
  const path = exitPath(exit);
  const own = held.get(`${path}.head.weight`);
  const head = own ?? { shape: parameters.shape('lm_head.weight'), data: parameters.values('lm_head.weight') };
  const [rows, hidden] = head.shape as [number, number];
  const translator = held.get(`${path}.translator.weight`)!.data;
  return { shape: [rows, hidden], data: await product(head.data, translator, [rows, hidden, hidden]) };
}

export const refused = (exit: ExitSpec, reason: string, wayOut?: string): UserError =>
  userError('unsupported', `The exit ${exitId(exit)} is no plain model: ${reason}.`, wayOut);
