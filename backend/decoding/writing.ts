/** One step of the texts in flight: the next tokens of all are decided in the same passes, then the following ones are drafted. */
import type { StagedModel } from '../runtime/staged-model.ts';
import type { Block } from './block.ts';
import { choose } from './choose.ts';
import { draft, learn } from './draft.ts';
import { takeBack, type KvCache } from './kv-cache.ts';
import type { Pace } from './pace.ts';
import type { Row, Rows } from './rows.ts';
import { write, type Sequence, type Written } from './sequence.ts';

export interface Writing<Request> {
  readonly request: Request;
  readonly row: Row;
  readonly sequence: Sequence;
  /** The drafts behind its newest token. */
  block: Block;
}

export const noDrafts: Block = { drafts: [] };

/** What a step decided of a text. */
export interface Decided<Request> extends Written {
  readonly request: Request;
  /** Tokens, those that have no record among them. */
  readonly tokens: number;
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
  // In the order of the rows, so that attention can treat neighbouring rows together.
  const ordered = [...texts].sort((a, b) => rows.at(a.row) - rows.at(b.row));
  const decided = await decide(model, cacheOf(ordered), pace, ordered, lengthOf);
  const going = ordered.filter((_, i) => decided[i]!.reason === null);
  const sequences = going.map(({ sequence }) => sequence);
  const blocks = await draft(model, cacheOf(going), pace, sequences);
  for (const [i, block] of blocks.entries()) going[i]!.block = block;
  const tokens = decided.reduce((sum, each) => sum + each.tokens, 0);
  pace.decided(tokens, performance.now() - started);
  return decided;
}

/** Takes back drafts that are not verified yet. */
export function forgetDrafts(cache: KvCache, rows: Rows, { row, block }: Writing<unknown>): void {
  const at = rows.at(row);
  cache.truncate(at, cache.position(at) - block.drafts.length);
}

/** Decides the next tokens; the newest token of each text that continues enters the cache, whose row i belongs to text i. */
async function decide<Request>(
  model: StagedModel,
  cache: KvCache,
  pace: Pace,
  texts: readonly Writing<Request>[],
  lengthOf: (request: Request) => number,
): Promise<Decided<Request>[]> {
  const sequences = texts.map(({ sequence }) => sequence);
  const blocks = texts.map(({ block }) => block);
  const choices = await choose(model, cache, pace, sequences, blocks);
  return texts.map((text, i) => {
    const { request, row, sequence, block } = text;
    const chosen = choices[i]!;
    takeBack(cache, i, block, chosen.length);
    for (const { token } of chosen) row.ids.push(token);
    text.block = noDrafts;
    learn(pace, sequence, chosen);
    const written = write(sequence, chosen, lengthOf(request));
    if (written.reason === null) cache.enter(i, [chosen.at(-1)!.token]);
    return { ...written, request, tokens: chosen.length };
  });
}
