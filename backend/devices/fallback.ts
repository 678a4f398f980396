/**
 * Models on a device that may fail while it runs. A call that is complete in itself is repeated on the CPU; the contents of slots are
 * computed again from the token ids. A device that the user named is not replaced.
 */
import { UserError, userError } from '../../protocol/errors.ts';
import type { ExitSpec } from '../exits/spec.ts';
import { requireGgml } from '../ggml/probe.ts';
import { ProcessorFailure } from '../ggml/processor.ts';
import type { Model } from '../model/open.ts';
import type { Cut } from '../model/spec.ts';
import type { Device } from './devices.ts';
import { openReplacedSlots } from './replaced-slots.ts';
import {
  openExitScorer,
  openFeatureModel,
  openStagedModel,
  openTeacher,
  type ExitScorer,
  type ExitSet,
  type RuntimeOptions,
} from '../runtime/open.ts';
import type { FeatureModel, StagedModel, TeacherModel } from '../runtime/staged-model.ts';

/** The device of the models of a job; they change to the CPU together. */
export interface Placement {
  readonly named: boolean;
  readonly warn: (message: string) => void;
  /** As a person reads it. */
  readonly name: string;
  /** Why the CPU cannot take over if the card fails; absent if it can. */
  readonly noFallback?: UserError;
  /** Null: the CPU computes everything. */
  share: Device['share'];
}

/** @throws UserError `device` if ggml does not compute on this machine; checked before a job reads or writes anything. */
export function placeOn({ share, name, named, noFallback }: Device, warn: Placement['warn']): Placement {
  requireGgml();
  return { share, name, named, warn, ...(noFallback && { noFallback }) };
}

/** Device and runtime options of the models of a recipe. */
export interface Running {
  readonly placement: Placement;
  readonly options: RuntimeOptions;
}

type Options = Omit<RuntimeOptions, 'gpu' | 'cutBehind'>;

/** As `openStagedModel`, on a placement. @throws UserError `device` if a named device fails. */
export async function placeStagedModel(
  placement: Placement,
  model: Model,
  exits: ExitSet,
  options: Options = {},
): Promise<StagedModel> {
  const { share } = placement;
  if (share === null) return openStagedModel(model, exits, options);
  // On the CPU the model is cut at the same places, so that the counts of slots stay valid.
  const placed = await place(placement, (gpu) =>
    openStagedModel(model, exits, { ...options, ...gpu, cutBehind: share.layers }),
  );
  const { spec, stages, exits: points } = placed.now();
  return {
    spec,
    stages,
    exits: points,
    openSlots: (rows) => openReplacedSlots(placed.now, placed.run, rows),
    dispose: placed.dispose,
  };
}

/** As `openFeatureModel`, on a placement. @throws UserError `device` if a named device fails. */
export async function placeFeatureModel(
  placement: Placement,
  model: Model,
  cuts: readonly Cut[],
  options: Options = {},
  entries: readonly number[] = [],
): Promise<FeatureModel> {
  const placed = await place(placement, (gpu) => openFeatureModel(model, cuts, { ...options, ...gpu }, entries));
  const { spec, cuts: ordered } = placed.now();
  return {
    spec,
    cuts: ordered,
    entries,
    features: (...call) => placed.run((m) => m.features(...call)),
    dispose: placed.dispose,
  };
}

/** As `openExitScorer`, on a placement. @throws UserError `device` if a named device fails. */
export async function placeExitScorer(
  placement: Placement,
  model: Model,
  exit: ExitSpec | null,
  exitParameters: ExitSet['parameters'],
  options: Options = {},
): Promise<ExitScorer> {
  const placed = await place(placement, (gpu) => openExitScorer(model, exit, exitParameters, { ...options, ...gpu }));
  return { score: (...call) => placed.run((m) => m.score(...call)), dispose: placed.dispose };
}

/** As `openTeacher`, on a placement. @throws UserError `device` if a named device fails. */
export async function placeTeacher(
  placement: Placement,
  model: Model,
  lists: readonly (readonly number[])[],
  options: Options = {},
): Promise<TeacherModel> {
  const placed = await place(placement, (gpu) => openTeacher(model, lists, { ...options, ...gpu }));
  return { teach: (...call) => placed.run((m) => m.teach(...call)), dispose: placed.dispose };
}

interface Placed<M> {
  readonly now: () => M;
  readonly run: <R>(call: (model: M) => R | Promise<R>) => Promise<R>;
  readonly dispose: () => Promise<void>;
}

/**
 * Opens something on the placement's device, and again on the CPU once the device has failed.
 * @throws UserError `device` if the device is named, or the CPU has no memory for what it computed.
 */
export async function place<M extends { dispose(): Promise<void> }>(
  placement: Placement,
  open: (gpu: Pick<RuntimeOptions, 'gpu'>) => Promise<M>,
): Promise<Placed<M>> {
  let current: { readonly share: Device['share']; readonly model: M } | null = null;
  const attempt = async <R>(call: (model: M) => R | Promise<R>): Promise<R> => {
    const { share } = placement;
    try {
      if (current === null || current.share !== share) {
        const old = current?.model;
        current = null;
        await release(old);
        current = { share, model: await open(share === null ? {} : { gpu: share }) };
      }
      return await call(current.model);
    } catch (error) {
      if (share === null || !(error instanceof ProcessorFailure)) throw error;
      const problem = `The device ${placement.name} failed: ${error.message.replace(/\.?\s*$/, '')}.`;
      if (placement.named)
        throw userError('device', problem, 'Use --device auto or --device cpu to go on without it.', error);
      const { noFallback } = placement;
      if (noFallback)
        throw new UserError('device', `${problem} ${noFallback.message}`, noFallback.wayOut, { cause: error });
      if (placement.share === share) placement.warn(`${problem} Going on with the CPU.`);
      placement.share = null;
      return attempt(call);
    }
  };
  await attempt(() => undefined);
  return {
    now: () => current!.model,
    run: attempt,
    dispose: async () => {
      const { model } = current ?? {};
      current = null;
      await model?.dispose();
    },
  };
}

/** The memory of a failed device may be gone already, so an error while freeing it is ignored. */
async function release(model: { dispose(): Promise<void> } | undefined): Promise<void> {
  await model?.dispose().catch(() => undefined);
}
