/** Runs this project's decoding in a process of its own, as its parent asks. */
import { loadTokenizer } from '../../../backend/data/tokenizer/tokenizer.ts';
import { openKvCache, type KvCache } from '../../../backend/decoding/cache/kv-cache.ts';
import { initialiseExit } from '../../../backend/exits/initialise.ts';
import { exitParameters } from '../../../backend/exits/parameters.ts';
import type { ExitSpec } from '../../../backend/exits/spec.ts';
import { openModel, type Model } from '../../../backend/model/open.ts';
import { openStagedModel } from '../../../backend/runtime/open.ts';
import type { ExitSet } from '../../../backend/runtime/stage-tree.ts';
import { trunkLength, type StagedModel } from '../../../backend/runtime/staged-model.ts';
import { timed } from '../measure.ts';
import type { Decoder } from './decoder.ts';
import { ourDecoder } from './ours.ts';

type Request =
  | {
      readonly type: 'open';
      readonly model: string;
      readonly threads: number;
      readonly exits: readonly number[];
      readonly head?: 'exact' | 'screened';
    }
  | { readonly type: 'start'; readonly prompts: number[][] }
  | { readonly type: 'pull'; readonly count: number }
  | { readonly type: 'fill'; readonly ids: number[] }
  /** Of this number of tokens after the filled ones, which are then forgotten. */
  | { readonly type: 'pass'; readonly tokens: number }
  | { readonly type: 'memory' };

let staged: StagedModel | null = null;
let decoder: Decoder | null = null;
let cache: KvCache | null = null;

const answer = async (request: Request): Promise<number> => {
  switch (request.type) {
    case 'open':
      return timed(async () => {
        const model = openModel(request.model);
        const tokenizer = loadTokenizer(request.model);
        staged = await openStagedModel(model, exitsAt(model, request.exits), {
          arithmetic: 'int8',
          threads: request.threads,
          ...(request.head && { head: request.head }),
        });
        decoder = ourDecoder(staged, tokenizer);
      });
    case 'start':
      return decoder!.start(request.prompts);
    case 'pull':
      return decoder!.pull(request.count);
    case 'fill':
      cache?.dispose();
      cache = openKvCache(staged!, 1);
      await pass(cache, request.ids, 1);
      return 0;
    case 'pass': {
      const at = cache!.position(0);
      const ids = Array.from({ length: request.tokens }, (_, i) => 100 + i);
      const seconds = await timed(() => pass(cache!, ids, ids.length));
      cache!.truncate(0, at);
      return seconds;
    }
    case 'memory':
      return process.memoryUsage.rss();
  }
};

/** Through the whole trunk and the final exit. */
async function pass(into: KvCache, ids: readonly number[], read: number): Promise<void> {
  into.enter(0, ids);
  await into.advance(trunkLength(staged!), [0]);
  await into.read(staged!.exits.length - 1, [0], [read], { logits: false });
}

/** Exits that were not tuned: what cuts a model into stages. */
function exitsAt({ spec, parameters }: Model, layers: readonly number[]): ExitSet {
  const specs = layers.map((layer): ExitSpec => ({ layer, architecture: 'norm', head: { kind: 'shared' } }));
  const loaded = specs.flatMap((exit) => {
    const values = initialiseExit(spec, exit, parameters, { kind: 'copy' });
    return exitParameters(spec, exit, parameters).map(
      ({ name, shape }) => [name, { shape, data: values.get(name)! }] as const,
    );
  });
  return { specs, parameters: new Map(loaded) };
}

process.on('message', (request: Request) => {
  const before = process.cpuUsage();
  answer(request).then(
    (value) => {
      const { user, system } = process.cpuUsage(before);
      process.send!({ value, processor: (user + system) / 1e6 });
    },
    (error: unknown) => process.send!({ error: error instanceof Error ? error.message : String(error) }),
  );
});
