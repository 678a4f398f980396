/**
 * The full model writes, a token a pass, and every exit is heard at every token: what a calibration learns from. The passes that
 * write are those that exits are read in, so their numbers are decoding's own.
 */
import type { Readout, StagedModel } from '../runtime/staged-model.ts';
import { openKvCache } from './kv-cache.ts';
import { regretOf } from './regret.ts';

/** One token of the full model, and what each exit said in its place, in the order of the model's exits. */
export interface Position {
  readonly token: number;
  readonly said: readonly Said[];
}

interface Said {
  /** −1 where a shortlist deferred. */
  readonly token: number;
  readonly confidence: number;
  /** Nats that its best real token is less probable than the full model's own choice, to the full model; clipped. */
  readonly regret: number;
  /** The stream at the exit `[width]`. */
  readonly state: Float32Array;
}

/**
 * What the model says after each prompt until its text ends, greedily; the token that ends a text is a position, too. Yields how
 * many passes of `newTokens` are done.
 */
export async function* listen(
  model: StagedModel,
  prompts: readonly (readonly number[])[],
  newTokens: number,
  endOfText: readonly number[],
): AsyncGenerator<{ readonly done: number; readonly total: number }, Position[][]> {
  const texts: Position[][] = prompts.map(() => []);
  const cache = openKvCache(model, prompts.length);
  try {
    for (const [row, prompt] of prompts.entries()) cache.enter(row, prompt);
    let going = [...prompts.keys()];
    for (let pass = 0; pass < newTokens && going.length > 0; pass++) {
      const own = cache.of(going);
      const rows = [...going.keys()];
      const said: (Omit<Said, 'regret'> & { readonly best: number })[][] = rows.map(() => []);
      let final: Readout[] = [];
      for (const [k, exit] of model.exits.entries()) {
        await own.advance(exit.stages, rows, { lastOnly: true });
        const readouts = await own.read(
          k,
          rows,
          rows.map(() => 1),
          { logits: false },
        );
        const newest = readouts.map((row) => row.readouts[0]!);
        if (exit.spec === null) final = newest;
        else {
          for (const [row, { token, confidence, candidates }] of newest.entries())
            said[row]!.push({ token, confidence, best: candidates[0]!.id, state: own.state(k, row, 0).slice() });
        }
      }
      const tokens = final.map(({ candidates }) => candidates[0]!.id);
      for (const [row, text] of going.entries()) {
        const heard = said[row]!.map(({ best, ...rest }) => ({ ...rest, regret: regretOf(final[row]!, best) }));
        texts[text]!.push({ token: tokens[row]!, said: heard });
      }
      const kept = rows.filter((row) => !endOfText.includes(tokens[row]!));
      for (const row of kept) own.enter(row, [tokens[row]!]);
      going = kept.map((row) => going[row]!);
      yield { done: pass + 1, total: newTokens };
    }
    return texts;
  } finally {
    cache.dispose();
  }
}
