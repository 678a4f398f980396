/** From the value at an exit's cut to its logits, over `Ops`: one description for training, inference and export. */
import { decoderLayer, headState, openCut, settle } from '../model/layer.ts';
import type { Ops } from '../model/ops.ts';
import { denseLayer, type ModelSpec } from '../model/spec.ts';
import { architectures, exitCut, hasBranch } from './architectures.ts';
import { exitPath, type ExitSpec } from './spec.ts';

/** The value at the cut of an exit with a branch → the stream behind its layer `[batch, tokens, hidden]`. */
export function exitBranch<T>(ops: Ops<T>, spec: ModelSpec, exit: ExitSpec, value: T): T {
  const path = exitPath(exit);
  const { stream } = openCut(ops, spec, exitCut(exit), value);
  // A copy of the model's last layer: it keeps that layer's rotation and window, but its MLP is dense.
  return settle(ops, decoderLayer(ops, spec, denseLayer(spec.layers.at(-1)!), stream, `${path}.layer`, path));
}

/** The value at the exit's cut → the state `[batch, tokens, hidden]` that the exit's head reads. */
export const exitState = <T>(ops: Ops<T>, spec: ModelSpec, exit: ExitSpec, value: T): T =>
  stateBehind(ops, spec, exit, hasBranch(exit) ? exitBranch(ops, spec, exit, value) : value);

/** Path of the head an exit reads with: its own `[classes, hidden]` (a shortlist's last class is *defer*), or the model's. */
export const headPath = (exit: ExitSpec): string =>
  exit.head.kind === 'shared' ? 'lm_head' : `${exitPath(exit)}.head`;

/** As `exitState`, from the stream behind the exit's branch if it has one. */
export const stateBehind = <T>(ops: Ops<T>, spec: ModelSpec, exit: ExitSpec, value: T): T =>
  headState(
    ops,
    spec,
    architectures[exit.architecture].state(ops, spec, exit, openCut(ops, spec, exitCut(exit), value)),
  );
