/**
 * Models on a device that may fail while it runs. Every call of a model is complete in itself (its past is handed to it), so
 * the call that failed is made again on the CPU and nothing is lost. A device that the user named is not replaced.
 */
import { userError } from '../../protocol/errors.ts';
import type { ExitSpec } from '../exits/spec.ts';
import type { Provider } from '../onnx/operators.ts';
import { RuntimeFailure } from '../onnx/session.ts';
import type { Model } from '../model/open.ts';
import type { Cut } from '../model/spec.ts';
import type { Device } from './devices.ts';
import {
  openExitScorer,
  openFeatureModel,
  openPassModel,
  openStagedModel,
  type ExitScorer,
  type ExitSet,
  type RuntimeOptions,
} from '../runtime/open.ts';
import { engineOf, hasMixtures, missingPackages } from '../runtime/engines.ts';
import { withHeldSlots } from '../runtime/held-slots.ts';
import type { PassModel } from '../runtime/pass-model.ts';
import type { FeatureModel, StagedModel } from '../runtime/staged-model.ts';

/** Where the models of a job run; they change to the CPU together. */
export interface Placement {
  readonly named: boolean;
  readonly warn: (message: string) => void;
  provider: Provider;
}

/** Says what would make the CPU faster, where it is taken. */
export function placeOn({ provider, named }: Device, warn: Placement['warn']): Placement {
  const missing = provider === 'cpu' ? missingPackages() : null;
  if (missing !== null) warn(missing);
  return { provider, named, warn };
}

type Options = Omit<RuntimeOptions, 'provider'>;

/** As `openStagedModel`, on a placement. @throws UserError `device` where a named device fails. */
export async function placeStagedModel(
  placement: Placement,
  model: Model,
  exits: ExitSet,
  options: Options = {},
): Promise<StagedModel> {
  keepOnCpu(placement, model);
  // What ggml computes on the CPU has nowhere else to go.
  if (placement.provider === 'cpu' && engineOf(model, options) === 'ggml')
    return openStagedModel(model, exits, options);
  const open = (provider: Provider): Promise<PassModel> => openPassModel(model, exits, { ...options, provider });
  const placed = await place(placement, open);
  const { spec, stages, exits: points } = placed.first;
  return withHeldSlots({
    spec,
    stages,
    exits: points,
    embed: (...call) => placed.first.embed(...call),
    runStage: (...call) => placed.run((m) => m.runStage(...call)),
    readExit: (...call) => placed.run((m) => m.readExit(...call)),
    dispose: placed.dispose,
  });
}

/** As `openFeatureModel`, on a placement. @throws UserError `device` where a named device fails. */
export async function placeFeatureModel(
  placement: Placement,
  model: Model,
  cuts: readonly Cut[],
  options: Options = {},
): Promise<FeatureModel> {
  keepOnCpu(placement, model);
  const placed = await place(placement, (provider) => openFeatureModel(model, cuts, { ...options, provider }));
  const { spec, cuts: ordered } = placed.first;
  return {
    spec,
    cuts: ordered,
    features: (...call) => placed.run((m) => m.features(...call)),
    dispose: placed.dispose,
  };
}

/** As `openExitScorer`, on a placement. @throws UserError `device` where a named device fails. */
export async function placeExitScorer(
  placement: Placement,
  model: Model,
  exit: ExitSpec | null,
  held: ExitSet['parameters'],
  options: Options = {},
): Promise<ExitScorer> {
  keepOnCpu(placement, model);
  const placed = await place(placement, (provider) => openExitScorer(model, exit, held, { ...options, provider }));
  return { score: (...call) => placed.run((m) => m.score(...call)), dispose: placed.dispose };
}

/** Moves a placement to the CPU for a model that no other device computes. @throws UserError `device` where another was named. */
function keepOnCpu(placement: Placement, model: Model): void {
  if (placement.provider === 'cpu' || !hasMixtures(model)) return;
  const problem = `${model.path} is a mixture of experts, which is computed on the CPU alone.`;
  if (placement.named) throw userError('device', problem, 'Use --device auto or --device cpu.');
  placement.warn(problem);
  placement.provider = 'cpu';
}

interface Placed<M> {
  readonly first: M;
  readonly run: <R>(call: (model: M) => Promise<R>) => Promise<R>;
  readonly dispose: () => Promise<void>;
}

/** Opens something on the placement's provider, and again on the CPU once the provider has failed. */
export async function place<M extends { dispose(): Promise<void> }>(
  placement: Placement,
  open: (provider: Provider) => Promise<M>,
): Promise<Placed<M>> {
  let current: { readonly provider: Provider; readonly model: M } | null = null;
  const attempt = async <R>(call: (model: M) => Promise<R>): Promise<R> => {
    const { provider } = placement;
    try {
      if (current?.provider !== provider) {
        const old = current?.model;
        current = null;
        await release(old);
        current = { provider, model: await open(provider) };
      }
      return await call(current.model);
    } catch (error) {
      if (provider === 'cpu' || !(error instanceof RuntimeFailure)) throw error;
      const problem = `The device ${provider} failed: ${error.message.replace(/\.?\s*$/, '')}.`;
      if (placement.named) {
        throw userError('device', problem, 'Use --device auto or --device cpu to go on without it.', error);
      }
      if (placement.provider === provider) placement.warn(`${problem} Going on with the CPU.`);
      placement.provider = 'cpu';
      return attempt(call);
    }
  };
  return {
    first: await attempt(async (model) => model),
    run: attempt,
    dispose: async () => {
      const { model } = current ?? {};
      current = null;
      await model?.dispose();
    },
  };
}

/** What a failed device held may be gone already; that it cannot be freed says nothing new. */
async function release(model: { dispose(): Promise<void> } | undefined): Promise<void> {
  await model?.dispose().catch(() => undefined);
}
