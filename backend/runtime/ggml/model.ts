/** A staged model in ggml: the graphs of its stages and of its exits' readouts. The state of sequences is in slots.ts. */
import { exitBranch } from '../../exits/forward.ts';
import { memoryCuts, memoryPath } from '../../exits/memory.ts';
import { exitCut } from '../../exits/architectures.ts';
import { keepsRows } from '../../exits/kept-rows.ts';
import { exitPath, shortlistIndex, shortlistOf, shortlistsOf, type ExitSpec } from '../../exits/spec.ts';
import { buildGraph, type BuiltGraph, type Value } from '../../ggml/graph.ts';
import type { Tensor } from '../../ggml/library.ts';
import type { Processor } from '../../ggml/processor.ts';
import { runNodes, runsOf } from '../../ggml/ops/attention.ts';
import { ggmlOps } from '../../ggml/ops/ops.ts';
import type { Past } from '../../ggml/ops/pass.ts';
import { isExact } from '../../ggml/weight-form.ts';
import { layerPath, linearsTogether, stage } from '../../model/layer.ts';
import { expectedParameters } from '../../model/expected-parameters.ts';
import type { Model } from '../../model/open.ts';
import { compareCuts, cutName, cutWidth, type Cut, type ModelSpec } from '../../model/spec.ts';
import { memoryGraph } from './fill.ts';
import { openGgmlSlots } from './slots.ts';
import type { GgmlModel, PassShape, SlotsStore, Store, StoreShelf } from './store.ts';
import { processorOfLayer, weightsOf, type GgmlOptions } from './runtime.ts';
import { stageTree, type ExitSet, type TreeStage } from '../stage-tree.ts';
import { inputRotations } from './rotations.ts';
import { columnsOf, layerNodes, otherNodes, readGraph, readsHead, type GraphWeights } from './reading.ts';
import { commonBeside, commonRows, type Common } from '../readouts/common.ts';
import { openHeadRows, type HeadRows } from '../readouts/head-rows.ts';
import { headScreen, loadHeadScreen } from '../readouts/rough-head.ts';
import { tokensOf } from '../readouts/readouts.ts';
import { openSpellings } from '../readouts/spellings.ts';
import type { ExitPoint, Slots, StagedModel, StageSpec } from '../staged-model.ts';

/** Bytes of keys, values and streams that stay for the next text, at most. */
const spareLimit = 1 << 28;

export async function openGgmlModel(model: Model, exits: ExitSet, options: GgmlOptions): Promise<StagedModel> {
  const { spec } = model;
  const ordered = [...exits.specs].sort((a, b) => compareCuts(exitCut(a), exitCut(b)));
  const { stages: tree, points: bare } = stageTree(spec, ordered, cutsBesideExits(spec, options));
  const processors = tree.map(({ to }) => processorOfLayer(to.layer, options));
  const points = withMemories(spec, bare, ordered, exits, processors).map((point) => ({
    ...point,
    readsUnlisted: keepsRows(model, point.spec, exits.parameters),
  }));
  const commons = commonsOf(spec, points, exits);
  const parameters = new Map([
    ...exits.parameters,
    ...[...new Set(commons)].flatMap((common) => (common ? commonRows(model.parameters, common) : [])),
  ]);
  const weights = new Map([...new Set(processors)].map((each) => [each, weightsOf(each, model, parameters, options)]));
  const behind = processorOfLayer(spec.layers.length, options);
  const screen = headScreen(behind, model, options);
  const headRows = new Map<Processor, HeadRows>();
  const headRowsOn = (processor: Processor): HeadRows => {
    const rows = headRows.get(processor) ?? openHeadRows(processor, model.parameters);
    headRows.set(processor, rows);
    return rows;
  };
  const place = (stage: number): GraphWeights => ({
    processor: processors[stage]!,
    weights: weights.get(processors[stage]!)!,
    exact: isExact(options.form),
    screen,
    headRows: () => headRowsOn(processors[stage]!),
  });
  const stages = tree.map((each): StageSpec => ({
    parent: each.parent,
    from: each.from,
    to: each.to,
    width: cutWidth(spec, each.from),
    slots: slotsOf(each),
  }));
  // Graphs of the shapes of passes come and go as long as texts are written.
  for (const { library } of processors) library.giveBackLarge();
  const open = new Set<Slots>();
  let spare: Store | null = null;
  const shelf: StoreShelf = {
    take(rows) {
      const store = spare?.rows === rows ? spare : null;
      if (store) spare = null;
      return store;
    },
    put(store) {
      spare?.dispose();
      spare = store.bytes <= spareLimit ? store : null;
      if (spare === null) store.dispose();
    },
  };
  const shortlists = points.map(({ spec: exit, readsUnlisted }, k) => {
    const list = readsUnlisted ? shortlistOf(exit) : null;
    return list && new Set([...list, ...(commons[k]?.tokens ?? [])]);
  });
  const ggml: GgmlModel = {
    processors,
    model,
    exact: isExact(options.form),
    rotations: inputRotations(spec),
    stages,
    exits: points,
    stageGraph: (first, last, shape, store) => stagesGraph(place(first), spec, tree, { first, last }, shape, store),
    shortlists,
    spellings: shortlists.map((list) => (list && exits.spellings ? openSpellings(model, exits.spellings, list) : null)),
    tokensOfClasses: points.map(({ spec: exit }, k) => tokensOf(exit, commons[k]?.tokens)),
    headRows: (k) => place(points[k]!.reads).headRows(),
    screens: (k) => screen !== null && processors[points[k]!.reads] === behind && readsHead(points[k]!),
    readGraph: (k, shape, store) =>
      readGraph(place(points[k]!.reads), spec, { ...points[k]!, common: commons[k]! }, shape, store),
    memoryGraph: (k, columns, store) => memoryGraph(place(points[k]!.stages - 1), spec, points[k]!, columns, store),
  };
  const openSlots = (rows: number): Slots => {
    const slots = openGgmlSlots(ggml, rows, {
      ...shelf,
      put(store) {
        open.delete(slots);
        shelf.put(store);
      },
    });
    open.add(slots);
    return slots;
  };
  const dispose = (): void => {
    for (const slots of open) slots.dispose();
    spare?.dispose();
    for (const each of headRows.values()) each.dispose();
    for (const each of weights.values()) each.dispose();
  };
  try {
    for (const [processor, each] of weights)
      if (!processor.isGpu)
        await each.load(matricesOf(model, (layer) => processorOfLayer(layer, options) === processor));
    if (screen) await loadHeadScreen(behind, model, weights.get(behind)!, screen);
    // Weights that are refused are refused when the model is opened.
    const first = openSlots(1);
    first.enter(0, [0]);
    for (const s of stages.keys()) await first.run(s, [1]);
    for (const k of points.keys()) await first.read(k, [0], [1], { logits: false });
    for (const [k, { remembers }] of points.entries()) if (remembers) await first.fill(k, [{ row: 0, position: 0 }]);
    first.dispose();
  } catch (error) {
    dispose();
    throw error;
  }
  return { spec, stages, exits: points, openSlots, dispose: async () => dispose() };
}

/**
 * The matrices of linears, in groups that read the same input: of the layers (from 1 on) for which `has` is true, and of the parts behind
 * the last layer if it is true for those.
 */
function matricesOf({ spec, parameters }: Model, has: (layer: number) => boolean): string[][] {
  const groups = new Map<string, string[]>();
  for (const { name, shape, stacked } of expectedParameters(spec)) {
    const isMatrix = shape.length === 2 && stacked === 0 && !name.startsWith('embed_') && parameters.has(name);
    const layer = /^layers\.(\d+)\./.exec(name)?.[1];
    if (!isMatrix || !has(layer === undefined ? spec.layers.length : Number(layer) + 1)) continue;
    const [, path, end] = /^(.*)\.(\w+)\.weight$/.exec(name) ?? [];
    const together = linearsTogether.findIndex((ends) => end !== undefined && ends.includes(end));
    const key = together === -1 ? name : `${path} ${together}`;
    groups.set(key, [...(groups.get(key) ?? []), name]);
  }
  return [...groups.values()];
}

/** The exits with what they remember: one product gives all that a memory fills, so that one processor must compute all of it. */
function withMemories(
  spec: ModelSpec,
  points: readonly ExitPoint[],
  exits: readonly ExitSpec[],
  { parameters }: ExitSet,
  processors: readonly Processor[],
): ExitPoint[] {
  const able = new Set(memoryCuts(spec, exits).map(cutName));
  return points.map((point): ExitPoint => {
    const cut = point.spec && exitCut(point.spec);
    const behind = processors.slice(point.stages - 1, points.at(-1)!.stages);
    const isFitted = cut !== null && able.has(cutName(cut)) && parameters.has(`${memoryPath(cut)}.weight`);
    return { ...point, remembers: isFitted && behind.every((each) => each === behind[0]) };
  });
}

/** What each exit scores of the common tokens that its shortlist lacks; exits with the same list share it. */
function commonsOf(
  { vocabulary }: ModelSpec,
  points: readonly ExitPoint[],
  { readsCommon = false }: ExitSet,
): (Common | null)[] {
  const able = points.map(({ spec: exit, readsUnlisted }) => (readsCommon && readsUnlisted ? exit : null));
  const lists = shortlistsOf(able.filter((exit) => exit !== null));
  const beside = lists.map((list, at) => commonBeside(list, vocabulary, at));
  return able.map((exit) => exit && beside[shortlistIndex(exit, lists)!]!);
}

/** If a model is partly on a GPU, it is cut behind the GPU's last layer. */
function cutsBesideExits(spec: ModelSpec, { gpu, cutBehind = gpu?.layers }: GgmlOptions): Cut[] {
  const isWithin = cutBehind !== undefined && cutBehind > 0 && cutBehind < spec.layers.length;
  return isWithin ? [{ layer: cutBehind, at: 'end' }] : [];
}

/** The attentions of a stage, in order. */
function slotsOf({ from, to, exit }: TreeStage): string[] {
  if (exit) return [exitPath(exit)];
  return Array.from({ length: to.layer - from.layer }, (_, i) => layerPath(from.layer + 1 + i));
}

/**
 * From the stream behind a stage's parent to the streams behind this stage and those that run with it. Inputs: `at` (of each column), those
 * of `ggmlOps`, and, if only one column of each row comes out, `last` and `last places` (of each row).
 */
function stagesGraph(
  { processor, weights, exact }: GraphWeights,
  spec: ModelSpec,
  tree: readonly TreeStage[],
  { first, last }: { readonly first: number; readonly last: number },
  { tokens, rows, keys, isTiled, lastOnly }: PassShape,
  store: SlotsStore,
): BuiltGraph {
  const { library } = processor;
  const layers = tree[last]!.to.layer - tree[first]!.from.layer;
  const runs = runsOf(rows).length;
  const nodes = (layerNodes(spec) + runNodes * runs) * (layers + 1 + last - first) + otherNodes;
  return buildGraph(processor, nodes, (sketch) => {
    const batch = rows.length;
    const past = (slot: string): Past => ({ ...store.past(slot), rows, keys });
    const ops = ggmlOps(processor, sketch, weights, { tokens, batch, exact, isTiled, past });
    const columns = tokens * batch;
    const keepStream = (s: number, y: Value, places: Tensor): void =>
      sketch.effect(library.setRows(sketch.context, store.stream(s), y.tensor, places));
    let x: Value = {
      tensor: columnsOf(processor, sketch, store.source(first), columns),
      width: cutWidth(spec, tree[first]!.from),
    };
    for (const [i, { from, to, exit }] of tree.slice(first, last + 1).entries()) {
      const s = first + i;
      if (lastOnly && s === last) {
        // Behind the last attention no token needs another.
        const attended: Cut = { layer: to.layer, at: 'attention' };
        const all = compareCuts(from, attended) < 0 ? stage(ops, spec, from, attended, x) : x;
        const tensor = library.getRows(sketch.context, all.tensor, sketch.input('last', 'I32', batch));
        const own = ggmlOps(processor, sketch, weights, { tokens: 1, batch, exact, isTiled, past });
        const y = stage(own, spec, attended, to, { tensor, width: all.width });
        keepStream(s, y, sketch.input('last places', 'I64', batch));
      } else {
        x = exit ? exitBranch(ops, spec, exit, x) : stage(ops, spec, from, to, x);
        keepStream(s, x, sketch.input('places', 'I64', columns));
      }
    }
  });
}
