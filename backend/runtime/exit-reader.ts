/** Opens what reads an exit: the session of its readout graph, and readouts out of what that returns. */
import type { ExitSpec } from '../exits/spec.ts';
import { canScreen } from '../onnx/screened.ts';
import type { Parameters } from '../model/parameters.ts';
import type { ModelSpec } from '../model/spec.ts';
import { openSession, type Session, type SessionOptions, type Value } from '../onnx/session.ts';
import { toVocabulary } from './readouts.ts';
import { readoutGraph, type GraphTarget } from './stage-graphs.ts';
import type { Readout } from './staged-model.ts';

type Values = Readonly<Record<string, Value>>;

export interface ExitReader {
  /** Readouts of each position, and on demand whole rows of logits `[positions, vocabulary]` (−∞ outside a shortlist). */
  read(feeds: Values, logits: boolean): Promise<{ readouts: Readout[]; logits: Float32Array | null }>;
  dispose(): Promise<void>;
}

/**
 * Opens an exit (null: the final one). Where arithmetic rounds anyway and the final head is large, readouts screen it; rows of
 * logits, which sampling draws from, never come from a screened head, but from one that is opened when they are first wanted.
 */
export async function openExitReader(
  spec: ModelSpec,
  parameters: Parameters,
  exit: ExitSpec | null,
  target: GraphTarget,
  options: SessionOptions,
): Promise<ExitReader> {
  const open = (graphTarget: GraphTarget): Promise<Session> =>
    openSession(readoutGraph(spec, parameters, exit, graphTarget), { ...options, spins: true });
  const screens =
    exit === null && target.arithmetic === 'int8' && target.provider === 'cpu' && canScreen(parameters, finalHead);
  const opening = open(screens ? { ...target, screened: finalHead } : target);
  const session = await opening;
  let whole = screens ? null : opening;
  const toToken = tokensOf(exit);
  return {
    async read(feeds, logits) {
      const reading = logits ? await (whole ??= open(target)) : session;
      const results = await reading.run(
        feeds,
        reading.outputs.filter((name) => logits || name !== 'logits'),
      );
      return {
        readouts: toReadouts(results, toToken),
        logits: logits ? toVocabulary(results['logits']!.data as Float32Array, toToken, spec.vocabulary) : null,
      };
    },
    async dispose() {
      // One that could not be opened has said so to its reader.
      for (const opened of new Set([session, await whole?.catch(() => null)])) await opened?.dispose();
    },
  };
}

const finalHead = 'lm_head';

/** The token of each class of an exit with a shortlist, its defer class last; null where classes are tokens. */
export const tokensOf = (exit: ExitSpec | null): readonly number[] | null =>
  exit?.head.kind === 'shortlist' ? [...exit.head.tokens, defer] : null;

const defer = -1;

/** Candidates of each position; a shortlist's defer class is none, but whether it won is told. */
export function ranked(
  results: Values,
  toToken: readonly number[] | null,
): { candidates: Readout['candidates']; deferred: boolean }[] {
  const classes = results['classes']!.data as BigInt64Array;
  const probabilities = results['probabilities']!.data as Float32Array;
  const k = results['classes']!.shape.at(-1)!;
  return Array.from({ length: classes.length / k }, (_, row) => {
    const all = Array.from({ length: k }, (_, j) => {
      const id = Number(classes[row * k + j]!);
      return { id: toToken ? toToken[id]! : id, probability: probabilities[row * k + j]! };
    });
    return { candidates: all.filter(({ id }) => id !== defer), deferred: all[0]!.id === defer };
  });
}

function toReadouts(results: Values, toToken: readonly number[] | null): Readout[] {
  const entropy = results['entropy']!.data as Float32Array;
  return ranked(results, toToken).map(({ candidates, deferred }, row) => {
    const confidence = candidates[0]!.probability;
    return {
      token: deferred ? defer : candidates[0]!.id,
      confidence,
      margin: confidence - (candidates[1]?.probability ?? 0),
      entropy: entropy[row]!,
      candidates,
    };
  });
}
