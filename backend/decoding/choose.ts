/**
 * Decides what each sequence says next. A block of a row is its newest token and the drafts behind it; the exits are asked
 * in the order of the stream, and each position leaves at the first that is sure enough. A position is only worth
 * deciding while every draft before it was right.
 */
import type { ExitPoint, Readout, StagedModel } from '../runtime/staged-model.ts';
import { textSource, type Block, type Choice } from './block.ts';
import { opens, type Gate } from './gate.ts';
import type { KvCache } from './kv-cache.ts';
import type { Pace } from './pace.ts';
import { leaves, type Policy } from './policy.ts';
import { needsLogits, sample, type SamplingOptions } from './sampler.ts';
import type { Sequence } from './sequence.ts';

export interface ChooseOptions {
  readonly policy: Policy;
  /** Whether a token may leave at an exit, by its id. The final exit always may. */
  readonly enabled: (exit: string) => boolean;
  readonly sampling: SamplingOptions;
  /** Guesses by exit id whether a reading pays; an exit without one is always read. */
  readonly gates: ReadonlyMap<string, Gate>;
  readonly candidates: number;
}

/** What an exit said of one position, and whether the position may leave there. */
interface Said {
  readonly exit: ExitPoint;
  readonly readout: Readout;
  /** `[vocabulary]`, where sampling asks for it. */
  readonly logits: Float32Array | null;
  readonly mayLeave: boolean;
}

/** Choices of each row: as many as were right drafts, and one more. */
export async function choose(
  model: StagedModel,
  cache: KvCache,
  pace: Pace,
  options: ChooseOptions,
  sequences: readonly Sequence[],
  blocks: readonly Block[],
): Promise<Choice[][]> {
  const logits = needsLogits(options.sampling);
  const wantsOpinions = options.candidates > 0;
  const lengths = blocks.map(({ drafts }) => drafts.length + 1);
  const choices: Omit<Choice, 'opinions'>[][] = blocks.map(() => []);
  const isDone = blocks.map(() => false);
  const said = lengths.map((length) => Array.from({ length }, (): Said[] => []));

  for (const [k, exit] of model.exits.entries()) {
    const isFinal = exit.spec === null;
    const asked = [...blocks.keys()].filter((row) => wantsOpinions || !isDone[row]);
    if (asked.length === 0) break;
    const isEnabled = isFinal || options.enabled(exit.id);
    if (!isEnabled && !wantsOpinions) continue;
    await cache.advance(exit.stages, asked);
    const gate = options.gates.get(exit.id);
    /** Of each position that is not decided yet, whether its gate is open. */
    const isOpen = blocks.map((_, row) =>
      Array.from({ length: asked.includes(row) ? lengths[row]! : 0 }, (_, at) => {
        const isWaiting = isEnabled && at >= choices[row]!.length;
        return isWaiting && (gate === undefined || opens(gate, cache.state(k, row, lengths[row]! - 1 - at)));
      }),
    );
    const read = asked.filter((row) => wantsOpinions || isOpen[row]!.includes(true));
    if (read.length === 0) continue;
    // What is decided already need not be heard again.
    const from = read.map((row) => (wantsOpinions ? 0 : choices[row]!.length));
    const counts = read.map((row, i) => lengths[row]! - from[i]!);
    const results = await cache.read(k, read, counts, { logits });
    for (const [i, row] of read.entries()) {
      const { readouts, logits: rows } = results[i]!;
      for (const [n, readout] of readouts.entries()) {
        const at = from[i]! + n;
        const own = rows && rows.subarray(n * model.spec.vocabulary, (n + 1) * model.spec.vocabulary);
        said[row]![at]!.push({ exit, readout, logits: own, mayLeave: isOpen[row]![at]! });
      }
      while (!isDone[row]) {
        const at = choices[row]!.length;
        const left = firstToLeave(options.policy, said[row]![at]!);
        if (!left) break;
        const token = pick(left.readout, left.logits, options.sampling, sequences[row]!);
        const draft = blocks[row]!.drafts[at] ?? null;
        choices[row]!.push({ token, exit: left.exit, readout: left.readout, draft });
        if (draft) pace.judged(draft.kind, draft.token === token);
        if (draft?.token === token && draft.source !== textSource) pace.drafters.earned(draft.source);
        isDone[row] = draft === null || draft.token !== token;
      }
    }
  }
  return choices.map((row, r) =>
    row.map((choice, at) => ({ ...choice, opinions: wantsOpinions ? said[r]![at]! : [] })),
  );
}

/**
 * Where a position leaves, of the exits that have spoken so far, in their order. One that comes up because a draft was right
 * leaves where it would have left by itself, even if the exits behind have spoken of it in the meantime.
 */
function firstToLeave(policy: Policy, said: readonly Said[]): Said | undefined {
  const able = said.filter(({ mayLeave }) => mayLeave);
  return able.find(({ exit, readout }, i) => {
    const earlier = able.slice(0, i).map((one) => one.readout);
    return exit.spec === null || leaves(policy, exit.id, readout, earlier);
  });
}

function pick(readout: Readout, logits: Float32Array | null, sampling: SamplingOptions, sequence: Sequence): number {
  const token = logits ? sample(logits, sampling, sequence.seen, sequence.random) : readout.candidates[0]!.id;
  sequence.seen.add(token);
  return token;
}
