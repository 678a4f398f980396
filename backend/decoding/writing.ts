/** One step of the texts in flight: the next tokens of all are decided in the same passes, then the following ones are drafted. */
import type { StagedModel } from '../runtime/staged-model.ts';
import type { Choice, Draft } from './block.ts';
import { choose } from './choose.ts';
import { draft, learn } from './drafts/draft.ts';
import { takeBack, type KvCache } from './cache/kv-cache.ts';
import type { Pace } from './drafts/pace.ts';
import type { Row, Rows } from './cache/rows.ts';
import { write, type Sequence, type Written } from './sequence.ts';

export interface Writing<Request> {
  readonly request: Request;
  readonly row: Row;
  readonly sequence: Sequence;
  /** Behind its newest token. */
  drafts: readonly Draft[];
}

/** What a step decided of a text. */
export interface Decided<Request> extends Written {
  readonly request: Request;
}

/** One step of some texts of a batch. `lengthOf`: most tokens of a text, prompt included. */
export async function writeNext<Request>(
  model: StagedModel,
  cache: KvCache,
  rows: Rows,
  pace: Pace,
  texts: readonly Writing<Request>[],
  lengthOf: (request: Request) => number,
): Promise<Decided<Request>[]> {
  const started = performance.now();
  const cacheOf = (some: readonly Writing<Request>[]): KvCache => cache.of(some.map(({ row }) => rows.at(row)));
  const sequencesOf = (some: readonly Writing<Request>[]): Sequence[] => some.map(({ sequence }) => sequence);
  // In the order of the rows, so that attention can treat neighbouring rows together.
  const ordered = [...texts].sort((a, b) => rows.at(a.row) - rows.at(b.row));
  const own = cacheOf(ordered);
  const drafts = ordered.map((text) => text.drafts);
  const choices = await choose(model, own, pace, sequencesOf(ordered), drafts);
  let foretold = 0;
  const decided = ordered.map((text, i) => {
    foretold += learn(pace, text.sequence, choices[i]!);
    const written = take(own, i, text, choices[i]!, lengthOf(text.request));
    return { ...written, request: text.request };
  });
  const going = ordered.filter((_, i) => decided[i]!.reason === null);
  const drafted = await draft(
    model,
    cacheOf(going),
    pace,
    sequencesOf(going),
    going.map(({ request }) => lengthOf(request)),
  );
  for (const [i, text] of going.entries()) text.drafts = drafted[i]!;
  const milliseconds = performance.now() - started;
  pace.decided(choices.flat().length, milliseconds);
  const [first] = ordered;
  const isAlone = ordered.length === 1 && drafts[0]!.length === 0;
  if (isAlone && foretold > 0 && first!.sequence.options.trust?.size) pace.foretold(milliseconds);
  return decided;
}

/** Takes back drafts that are not verified yet. */
export function forgetDrafts(cache: KvCache, rows: Rows, { row, drafts }: Writing<unknown>): void {
  const at = rows.at(row);
  cache.truncate(at, cache.position(at) - drafts.length);
}

/** Adds decided tokens to a text, row `at` of the cache; the newest of them enters the cache if the text continues. */
function take(
  cache: KvCache,
  at: number,
  text: Writing<unknown>,
  choices: readonly Choice[],
  contextLength: number,
): Written {
  const { row, sequence, drafts } = text;
  takeBack(cache, at, drafts, choices.length);
  for (const { token } of choices) row.ids.push(token);
  text.drafts = [];
  const written = write(sequence, choices, contextLength);
  if (written.reason === null) cache.enter(at, [choices.at(-1)!.token]);
  return written;
}
