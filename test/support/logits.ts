/** Logits as the definitions of model and exits have them: what every engine is compared with. */
import { exitState, headPath } from '../../backend/exits/forward.ts';
import type { ExitSpec } from '../../backend/exits/spec.ts';
import { capLogits, finalState } from '../../backend/model/layer.ts';
import type { Ops } from '../../backend/model/ops.ts';
import type { ModelSpec } from '../../backend/model/spec.ts';

/** The model's own logits from the stream after the last layer: `[batch, tokens, vocabulary]`. */
export const finalLogits = <T>(ops: Ops<T>, spec: ModelSpec, x: T): T =>
  capLogits(ops, spec, ops.linear(finalState(ops, spec, x), 'lm_head'));

/** The exit's logits `[batch, tokens, classes]`. */
export const exitLogits = <T>(ops: Ops<T>, spec: ModelSpec, exit: ExitSpec, value: T): T =>
  capLogits(ops, spec, ops.linear(exitState(ops, spec, exit, value), headPath(exit)));
