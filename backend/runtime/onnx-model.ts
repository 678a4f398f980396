/** Models in ONNX Runtime: graphs out of a model's parameters, one session each. */
import { exitCut, type ExitSpec } from '../exits/spec.ts';
import { groupQueries } from '../onnx/grouped-queries.ts';
import { operatorsOf } from '../onnx/operators.ts';
import { overlayParameters } from '../model/overlay.ts';
import type { Model } from '../model/open.ts';
import { compareCuts, cutName, cutWidth, finalCut, type Cut, type ModelSpec } from '../model/spec.ts';
import type { RuntimeOptions } from './engines.ts';
import { embed } from './embedding.ts';
import type { NewRows, Pass, PassModel, PastRows } from './pass-model.ts';
import { attentionMask, newPlaces } from './positions.ts';
import { ropesOf, rotationTable } from './rotations.ts';
import { openExitReader, ranked, tokensOf, type ExitReader } from './exit-reader.ts';
import { openSession, type Session, type Value } from '../onnx/session.ts';
import { branchGraph, featureGraph, queryBlocks, scoringGraph, stageGraph, type GraphTarget } from './stage-graphs.ts';
import { distinctCuts, noExits, stageTree, type ExitSet } from './stage-tree.ts';
import type { ExitScorer, FeatureModel } from './staged-model.ts';

/** A model cut at its exits, with its past in the caller's hands. */
export async function openPassModel(
  model: Model,
  exits: ExitSet = noExits,
  options: RuntimeOptions = {},
): Promise<PassModel> {
  const { spec } = model;
  const all = overlayParameters(model.parameters, exits.parameters);
  const { parameters, group } = groupsQueries(options) ? groupQueries(spec, all) : { parameters: all, group: 1 };
  const target = { ...graphTarget(options), queryGroup: group };
  const ordered = [...exits.specs].sort((a, b) => compareCuts(exitCut(a), exitCut(b)));
  const { stages, points } = stageTree(spec, ordered);

  const sessions: { slots: readonly string[]; session: Session }[] = [];
  const readers: ExitReader[] = [];
  const dispose = async (): Promise<void> => {
    for (const { session } of sessions) await session.dispose();
    for (const reader of readers) await reader.dispose();
  };
  try {
    for (const { from, to, exit } of stages) {
      const { graph, slots } = exit
        ? branchGraph(spec, parameters, exit, target)
        : stageGraph(spec, parameters, from, to, target);
      sessions.push({ slots, session: await openSession(graph, { ...options, spins: true }) });
    }
    for (const { spec: exit } of points) readers.push(await openExitReader(spec, parameters, exit, target, options));
  } catch (error) {
    // What failed says more than what then cannot be freed.
    await dispose().catch(() => undefined);
    throw error;
  }
  const positions = positionFeeds(spec, group);

  return {
    spec,
    stages: stages.map(({ parent, from, to }, s) => ({
      parent,
      from,
      to,
      width: cutWidth(spec, from),
      slots: sessions[s]!.slots,
    })),
    exits: points,
    embed: (ids, at) => embed(spec, model.parameters, ids, at),
    async runStage(s, hidden, pass, past) {
      const { session, slots } = sessions[s]!;
      const feeds = {
        ...streamFeed(hidden, pass, cutWidth(spec, stages[s]!.from)),
        ...positions(pass, slots, past, session.inputs),
      };
      const results = await session.run(feeds);
      return { hidden: results['hidden']!.data as Float32Array, rows: newRows(results, slots) };
    },
    async readExit(k, hidden, count, { logits = false } = {}) {
      const width = cutWidth(spec, stages[points[k]!.reads]!.to);
      return readers[k]!.read({ stream: { data: hidden, shape: [count, 1, width] } }, logits);
    },
    dispose,
  };
}

/** The frozen backbone up to the deepest of `cuts`, for full sequences. */
export async function openOnnxFeatures(
  model: Model,
  cuts: readonly Cut[],
  options: RuntimeOptions = {},
): Promise<FeatureModel> {
  const { spec } = model;
  const ordered = distinctCuts(cuts);
  const session = await openSession(featureGraph(spec, model.parameters, ordered, graphTarget(options)), options);
  const positions = positionFeeds(spec);
  const run = async (ids: Int32Array, batch: number, tokens: number): Promise<Float32Array[]> => {
    const pass = fromStart(batch, tokens);
    const at = Int32Array.from(ids, (_, i) => i % tokens);
    const stream = embed(spec, model.parameters, ids, at);
    const results = await session.run({
      ...streamFeed(stream, pass, spec.hidden),
      ...positions(pass, [], noPast, session.inputs),
    });
    return ordered.map((cut) => results[cutName(cut)]!.data as Float32Array);
  };
  return {
    spec,
    cuts: ordered,
    async features(ids, batch, tokens) {
      if (tokens >= queryBlocks) return run(ids, batch, tokens);
      // No token sees those after it.
      const longer = withRows(ids, batch, tokens, queryBlocks);
      const streams = await run(longer, batch, queryBlocks);
      return streams.map((stream) => withRows(stream, batch, queryBlocks, tokens));
    },
    dispose: () => session.dispose(),
  };
}

/** Scores one exit (null: the final one) on full sequences. */
export async function openOnnxScorer(
  model: Model,
  exit: ExitSpec | null,
  held: ExitSet['parameters'] = new Map(),
  options: RuntimeOptions = {},
): Promise<ExitScorer> {
  const { spec } = model;
  const parameters = overlayParameters(model.parameters, held);
  const session = await openSession(scoringGraph(spec, parameters, exit, graphTarget(options)), options);
  const positions = positionFeeds(spec);
  const width = cutWidth(spec, exit ? exitCut(exit) : finalCut(spec));
  const toToken = tokensOf(exit);
  return {
    async score(value, targets, batch, tokens) {
      const pass = fromStart(batch, tokens);
      const classes = {
        data: BigInt64Array.from({ length: batch * tokens }, (_, i) => BigInt(Math.max(0, targets[i]!))),
        shape: [batch, tokens, 1],
      };
      const results = await session.run({
        ...streamFeed(value, pass, width),
        targets: classes,
        ...positions(pass, [], noPast, session.inputs),
      });
      const rows = ranked(results, toToken);
      return {
        loss: results['loss']!.data as Float32Array,
        token: Int32Array.from(rows, ({ candidates }) => candidates[0]!.id),
        confidence: Float32Array.from(rows, ({ candidates }) => candidates[0]!.probability),
        deferred: rows.map(({ deferred }) => deferred),
      };
    },
    dispose: () => session.dispose(),
  };
}

const graphTarget = ({ arithmetic = 'float32', provider = 'cpu' }: RuntimeOptions): GraphTarget => ({
  arithmetic,
  provider,
});

const groupsQueries = ({ provider = 'cpu' }: RuntimeOptions): boolean =>
  operatorsOf[provider].attention === 'Attention';

/** `[batch, from, …]` as `[batch, to, …]`: cut, or filled with zeros. */
function withRows<T extends Int32Array | Float32Array>(values: T, batch: number, from: number, to: number): T {
  const width = values.length / (batch * from);
  const result = new (values.constructor as new (length: number) => T)(batch * to * width);
  for (let b = 0; b < batch; b++) {
    const start = b * from * width;
    result.set(values.subarray(start, start + Math.min(from, to) * width), b * to * width);
  }
  return result;
}

const noPast: ReadonlyMap<string, PastRows> = new Map();

const fromStart = (batch: number, tokens: number): Pass => ({
  batch,
  tokens,
  counts: Array.from({ length: batch }, () => tokens),
  starts: Array.from({ length: batch }, () => 0),
  lengths: Array.from({ length: batch }, () => tokens),
});

const streamFeed = (data: Float32Array, { batch, tokens }: Pass, width: number): { stream: Value } => ({
  stream: { data, shape: [batch, tokens, width] },
});

type Feeds = Record<string, Value>;

/** Rotations, masks and past rows for the inputs that a graph has. */
function positionFeeds(
  spec: ModelSpec,
  queryGroup = 1,
): (pass: Pass, slots: readonly string[], past: ReadonlyMap<string, PastRows>, inputs: readonly string[]) => Feeds {
  const tables = ropesOf(spec).map((rope) => ({
    name: rope.name,
    half: rope.dimensions / 2,
    table: rotationTable(rope),
  }));
  const width = spec.kvHeads * spec.headDimensions;
  return (pass, slots, past, inputs) => {
    const feeds: Feeds = {};
    const room = slots.length && past.size ? past.get(slots[0]!)!.capacity : pass.tokens;
    for (const slot of slots) {
      const shape = [pass.batch, room, width];
      const rows = past.get(slot) ?? nothingYet(shape);
      feeds[`key.${slot}`] = { data: rows.key, shape };
      feeds[`value.${slot}`] = { data: rows.value, shape };
    }
    if (slots.length) feeds['places'] = newPlaces(pass);
    for (const { name, half, table } of tables) {
      if (!inputs.includes(`cos.${name}`)) continue;
      const shape = [pass.batch, pass.tokens, half];
      const { cos, sin } = table.angles(pass);
      feeds[`cos.${name}`] = { data: cos, shape };
      feeds[`sin.${name}`] = { data: sin, shape };
    }
    for (const input of inputs) {
      if (input === 'mask') feeds[input] = attentionMask(pass, room, null, queryGroup);
      else if (input.startsWith('mask.')) feeds[input] = attentionMask(pass, room, Number(input.slice(5)), queryGroup);
    }
    return feeds;
  };
}

function nothingYet(shape: readonly number[]): Omit<PastRows, 'capacity'> {
  const none = new Float32Array(shape.reduce((a, b) => a * b));
  return { key: none, value: none };
}

function newRows(results: Readonly<Record<string, Value>>, slots: readonly string[]): Map<string, NewRows> {
  const rows = new Map<string, NewRows>();
  for (const slot of slots) {
    rows.set(slot, {
      key: results[`newKey.${slot}`]!.data as Float32Array,
      value: results[`newValue.${slot}`]!.data as Float32Array,
    });
  }
  return rows;
}
