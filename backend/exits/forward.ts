/**
 * What each exit computes, over `Ops`: one description for training, inference and export.
 * Definitions as in EE-LLM; `lens` after the Tuned Lens (arXiv 2303.08112).
 */
import { capLogits, decoderLayer, headState, layerPath, mlpHalf, openCut, settle } from '../model/layer.ts';
import type { Ops } from '../model/ops.ts';
import { denseLayer, type ModelSpec } from '../model/spec.ts';
import { exitCut, exitPath, type ExitSpec } from './spec.ts';

/** Whether an exit has a layer of its own behind its cut: a branch of the stream, with keys and values of its own. */
export const hasBranch = (exit: ExitSpec): boolean => exit.architecture === 'layer';

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

/** The exit's logits `[batch, tokens, classes]`. */
export const exitLogits = <T>(ops: Ops<T>, spec: ModelSpec, exit: ExitSpec, value: T): T =>
  capLogits(ops, spec, ops.linear(exitState(ops, spec, exit, value), headPath(exit)));

/** The same, from the stream behind the exit's branch where it has one. */
export const logitsBehind = <T>(ops: Ops<T>, spec: ModelSpec, exit: ExitSpec, value: T): T =>
  capLogits(ops, spec, ops.linear(stateBehind(ops, spec, exit, value), headPath(exit)));

/** As `exitState`, from the stream behind the exit's branch where it has one. */
const stateBehind = <T>(ops: Ops<T>, spec: ModelSpec, exit: ExitSpec, value: T): T =>
  headState(ops, spec, normedState(ops, spec, exit, value));

function normedState<T>(ops: Ops<T>, spec: ModelSpec, exit: ExitSpec, value: T): T {
  const path = exitPath(exit);
  const { stream, input } = openCut(ops, spec, exitCut(exit), value);
  switch (exit.architecture) {
    case 'embedding':
      return stream.x;
    case 'norm':
    case 'layer':
      return ops.norm(stream.x, `${path}.norm`, spec.norm);
    case 'mlp': {
      const branch = mlpHalf(ops, spec, stream, input, layerPath(exit.layer), { path: `${path}.mlp` });
      return ops.norm(settle(ops, branch), `${path}.norm`, spec.norm);
    }
    case 'lens':
      return ops.linear(ops.norm(stream.x, `${path}.norm`, spec.norm), `${path}.translator`);
  }
}
