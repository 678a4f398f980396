/**
 * The full model writes, a token per pass, and every exit is read at every token: the data from which a calibration learns. The exits are
 * read in the passes that write, so their numbers are those of decoding.
 */
import type { Readout, StagedModel } from '../../runtime/staged-model.ts';
import { newHints, type Hint } from '../../data/hints.ts';
import { agreementWith, type HintAgreement } from './hints.ts';
import { openKvCache } from '../cache/kv-cache.ts';
import { mostRegret } from '../../../protocol/options/promise.ts';
import { regretIn, regretOf } from '../prompts/regret.ts';

/** One token of the full model, and each exit's prediction at its position, in the order of the model's exits. */
export interface Position {
  readonly token: number;
  /** What the text before it says of it, and the regret of that; null: nothing. */
  readonly hint: (Hint & { readonly regret: number }) | null;
  readonly observations: readonly ExitObservation[];
}

interface ExitObservation {
  /** −1 if a shortlist deferred. */
  readonly token: number;
  readonly confidence: number;
  /** Nats that its best real token is less probable than the full model's own choice, to the full model; clipped. */
  readonly regret: number;
  /** How its token stands to the hint of the text before it; null: there is none. */
  readonly agreement: HintAgreement | null;
  /** The stream at the exit `[width]`. */
  readonly state: Float32Array;
}

/** If an exit is less sure, a regret that only a row of logits tells counts as the largest: thresholds are hardly ever so low. */
const sure = 0.5;

/**
 * The model's greedy continuation of each prompt until the text ends; the token that ends it is a position, too. Yields how many passes of
 * `newTokens` are done.
 */
export async function* observeExits(
  model: StagedModel,
  prompts: readonly (readonly number[])[],
  newTokens: number,
  endOfText: readonly number[],
): AsyncGenerator<{ readonly done: number; readonly total: number }, Position[][]> {
  const texts: Position[][] = prompts.map(() => []);
  const hints = prompts.map(newHints);
  const cache = openKvCache(model, prompts.length);
  try {
    for (const [row, prompt] of prompts.entries()) cache.enter(row, prompt);
    let going = [...prompts.keys()];
    for (let pass = 0; pass < newTokens && going.length > 0; pass++) {
      const own = cache.of(going);
      const rows = [...going.keys()];
      const given = going.map((text) => hints[text]!.next([])[0]!);
      const observations: (Omit<ExitObservation, 'regret'> & { readonly best: number })[][] = rows.map(() => []);
      const logitsOf = async (row: number): Promise<Float32Array> => {
        const [read] = await own.read(model.exits.length - 1, [row], [1], { logits: true });
        return read!.logits!;
      };
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
            observations[row]!.push({
              token,
              confidence,
              best: candidates[0]!.id,
              agreement: agreementWith(given[row]!, token),
              state: own.state(k, row, own.position(row) - 1).slice(),
            });
        }
      }
      const tokens = final.map(({ candidates }) => candidates[0]!.id);
      for (const [row, text] of going.entries()) {
        const said = observations[row]!;
        const isUnknown = said.some(
          ({ best, confidence }) => confidence >= sure && regretOf(final[row]!, best) === null,
        );
        const logits = isUnknown ? await logitsOf(row) : null;
        const judged = said.map(({ best, ...rest }) => ({
          ...rest,
          regret: regretOf(final[row]!, best) ?? (logits ? regretIn(logits, final[row]!, best) : mostRegret),
        }));
        const hinted = given[row] ?? null;
        const hint = hinted && { ...hinted, regret: regretOf(final[row]!, hinted.token) ?? mostRegret };
        texts[text]!.push({ token: tokens[row]!, hint, observations: judged });
        hints[text]!.add([tokens[row]!]);
      }
      const continuing = rows.filter((row) => !endOfText.includes(tokens[row]!));
      for (const row of continuing) own.enter(row, [tokens[row]!]);
      going = continuing.map((row) => going[row]!);
      yield { done: pass + 1, total: newTokens };
    }
    return texts;
  } finally {
    cache.dispose();
  }
}
