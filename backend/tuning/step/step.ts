/**
 * The tuning step: loss, gradient, clipping and AdamW of all exits, over an engine that differentiates and updates. Two
 * engines run the same tfjs functions: compiled to ONNX Runtime (compiled.ts), and eager on a tfjs backend
 * (eager.ts).
 *
 * Gradients are of *sums* over target tokens, and are divided by their number at the update: so micro-batches
 * accumulated together equal one large batch, however many targets each has.
 */
import { clipCoefficient } from './optimiser.ts';
import { compiledEngine, type CompiledOptions } from './compiled.ts';
import { eagerEngine, type EagerOptions } from './eager.ts';
import type { StepEngine, Sums } from './engine.ts';
import { planStep, targetCount, type PlannedExit, type StepOptions, type StepPlan } from './plan.ts';
import type { OptimiserOptions, StepSettings, TuningStep } from './types.ts';

export type { StepOptions } from './plan.ts';

/** A step for batches of one shape, compiled once; smaller batches are padded to it. `threads` defaults to all cores. */
export async function createCompiledStep(options: StepOptions & CompiledOptions): Promise<TuningStep> {
  const plan = planStep(options);
  return tuningStep(plan, compiledEngine(plan, options), options.optimiser);
}

/** A step on a tfjs backend that is registered and ready, by name (`cpu`, `webgpu`, `tensorflow`). */
export async function createEagerStep(options: StepOptions & EagerOptions): Promise<TuningStep> {
  const plan = planStep(options);
  return tuningStep(plan, eagerEngine(plan, options), options.optimiser);
}

/** What has been accumulated of one exit since the last update. */
interface Pending<G> extends Sums {
  readonly gradient: G;
}

/** A gradient that waits for its update; `scale` turns it into the gradient of the mean loss. */
interface Ready<G> {
  readonly planned: PlannedExit;
  readonly gradient: G;
  readonly scale: number;
  readonly norm: number;
}

function tuningStep<G>(plan: StepPlan, engine: StepEngine<G>, optimiser: OptimiserOptions): TuningStep {
  let updates = 0;
  let count = 0;
  const pending = new Map<string, Pending<G>>();

  const apply = async ({ planned, gradient, scale }: Ready<G>, norm: number, learningRate: number): Promise<void> => {
    const clip = clipCoefficient(norm, optimiser.gradientClip);
    await engine.apply(planned, gradient, clip * scale, learningRate, updates + 1);
  };

  const discardPending = (): void => {
    for (const { gradient } of pending.values()) engine.discard(gradient);
    pending.clear();
    count = 0;
  };

  return {
    async accumulate(batch, settings) {
      const own = targetCount(batch);
      const losses = new Map<string, number>();
      const crossEntropies = new Map<string, number>();
      const gaps = new Map<string, number>();
      const gradientNorms = new Map<string, number>();
      for (const group of plan.groups) {
        const results = await engine.differentiate(group, batch);
        for (const [i, { id }] of group.entries()) {
          const { loss, crossEntropy, gap, gradient } = results[i]!;
          const before = pending.get(id);
          const total = await engine.accumulate(before?.gradient ?? null, gradient, weightOf(settings, id));
          pending.set(id, { gradient: total.gradient, ...plus(results[i]!, before) });
          losses.set(id, mean(loss, own));
          crossEntropies.set(id, mean(crossEntropy, own));
          if (gap !== null) gaps.set(id, mean(gap, own));
          gradientNorms.set(id, mean(Math.sqrt(total.squares), count + own));
        }
      }
      count += own;
      return { losses, crossEntropies, gaps, gradientNorms };
    },
    async update(batch, settings) {
      const all = count + targetCount(batch);
      const losses = new Map<string, number>();
      const crossEntropies = new Map<string, number>();
      const gaps = new Map<string, number>();
      const gradientNorms = new Map<string, number>();
      const waiting: Ready<G>[] = [];
      for (const group of plan.groups) {
        const results = await engine.differentiate(group, batch);
        for (const [i, planned] of group.entries()) {
          const { id } = planned;
          let { gradient, squares } = results[i]!;
          const before = pending.get(id);
          let scale = mean(weightOf(settings, id), all);
          if (before) {
            ({ gradient, squares } = await engine.accumulate(before.gradient, gradient, weightOf(settings, id)));
            pending.delete(id);
            scale = mean(1, all);
          }
          const norm = scale * Math.sqrt(squares);
          const { loss, crossEntropy, gap } = plus(results[i]!, before);
          losses.set(id, mean(loss, all));
          crossEntropies.set(id, mean(crossEntropy, all));
          if (gap !== null) gaps.set(id, mean(gap, all));
          gradientNorms.set(id, norm);
          const ready = { planned, gradient, scale, norm };
          if (optimiser.clip === 'joint') waiting.push(ready);
          else await apply(ready, norm, settings.learningRate);
        }
      }
      const joint = Math.hypot(...waiting.map(({ norm }) => norm));
      for (const ready of waiting) await apply(ready, joint, settings.learningRate);
      updates++;
      count = 0;
      return { losses, crossEntropies, gaps, gradientNorms };
    },
    async state() {
      return { updates, ...(await engine.state()) };
    },
    async restore(state) {
      discardPending();
      await engine.restore(state);
      updates = state.updates;
    },
    async dispose() {
      discardPending();
      await engine.dispose();
    },
  };
}

const plus = (a: Sums, b: Sums = { loss: 0, crossEntropy: 0, gap: 0 }): Sums => ({
  loss: a.loss + b.loss,
  crossEntropy: a.crossEntropy + b.crossEntropy,
  gap: a.gap === null || b.gap === null ? null : a.gap + b.gap,
});

function weightOf({ exitWeights }: StepSettings, id: string): number {
  const weight = exitWeights.get(id);
  if (weight === undefined) throw new Error(`no weight for the exit ${id}`);
  return weight;
}

const mean = (sum: number, count: number): number => sum / Math.max(1, count);
