/**
 * Estimates memory, traffic and time of ranks from the model's shape alone: nothing is opened and nothing runs. The formulae are those of
 * docs/distributed.md; tests compare them with what runs count.
 */
import { exitParameters, parameterSize, type ParameterShapes } from '../exits/parameters.ts';
import type { ExitSpec } from '../exits/spec.ts';
import { userError } from '../../protocol/errors.ts';
import { plural } from '../../protocol/plural.ts';
import { expectedParameters, modelSize, sizeOf } from '../model/expected-parameters.ts';
import type { ModelSpec } from '../model/spec.ts';
import { meshText, ranksOf, type Mesh } from '../../protocol/options/place.ts';
import type { ParameterMemory, Traffic } from './reported.ts';

export interface PlannedRun {
  readonly spec: ModelSpec;
  readonly exits: readonly ExitSpec[];
  /** Windows of an update, and positions of a window. */
  readonly windows: number;
  readonly tokens: number;
  /** Windows of a pass. */
  readonly batch: number;
  readonly distils: boolean;
  /** Whether the whole model is trained, and not exits alone. */
  readonly whole: boolean;
  /** Bytes per number of the backbone: 2, or 4 with exact precision. */
  readonly bytes: 2 | 4;
  /** The parameters of the model, if they are available: they show which biases exist. */
  readonly parameters?: ParameterShapes;
}

/** Exits include their gradients and two moments; heads are the frozen parts of the model in 32 bits, mainly its own head. */
export interface RankMemory extends ParameterMemory {
  /** States on their way and logits of a chunk; an estimate. */
  readonly working: number;
}

export interface Plan {
  readonly mesh: Mesh;
  readonly memory: RankMemory;
  readonly total: number;
  /** Bytes an update that all ranks give away. */
  readonly traffic: Traffic & { readonly weights: number };
  /** Of a billion tokens, at the assumed speeds. */
  readonly hours: number;
}

/**
 * Sustained, of one H100: products of the backbone in 16 bits, and of exits in float32, which PyTorch does not round to TF32. Assumptions,
 * not measurements.
 */
const assumedSpeeds = { backbone: 400e12, exits: 50e12 };
/** Of an 80 GB card, what may be filled. */
export const usableBytes = 72e9;

/** A parameter, its gradient and two moments, in 32 bits. */
const bytesPerTrained = 16;
/** Logits alive at a time, and how many arrays of them (objective.py). */
const chunkBytes = 50e6;
const chunkArrays = 6;

/** First and last layer of each stage while exits learn, as `layout_of` of pipeline.py has them. */
export function stages(run: PlannedRun, pp: number): { first: number; last: number }[] {
  const depth = depthOf(run);
  const ends = Array.from({ length: pp }, (_, stage) => Math.floor((depth * (stage + 1)) / pp));
  return ends.map((last, stage) => ({ first: (ends[stage - 1] ?? 0) + 1, last }));
}

export function planOn(run: PlannedRun, mesh: Mesh): Plan {
  const memory = memoryOn(run, mesh);
  const total = memory.backbone + memory.exits + memory.heads + memory.working;
  return { mesh, memory, total, traffic: trafficOn(run, mesh), hours: hoursOn(run, mesh) };
}

/**
 * The mesh for `gpus` GPUs. It has as few stages as fit, since replicas need the least traffic; then parts of layers, then sharded frozen
 * weights. If nothing fits, it is the mesh that needs the least memory. Replicas get whole windows if possible.
 */
export function chooseMesh(run: PlannedRun, gpus: number): Plan {
  const divides = (size: number): boolean => gpus % size === 0;
  const depth = depthOf(run);
  const sizes = Array.from({ length: gpus }, (_, i) => i + 1).filter(divides);
  // A model that is trained is whole on every rank.
  if (run.whole) return planOn(run, { pp: 1, dp: gpus, tp: 1, shard: false });
  const tps = [1, 2, 4, 8].filter((tp) => divides(tp) && canShareHeads(run.spec, tp));
  const meshes = tps.flatMap((tp) =>
    sizes
      .filter((pp) => pp <= depth && gpus % (pp * tp) === 0)
      .map((pp) => ({ pp, dp: gpus / pp / tp, tp, shard: false })),
  );
  const even = meshes.filter(({ dp }) => run.windows % dp === 0);
  const candidates = even.length > 0 ? even : meshes;
  const plans = [...candidates, ...candidates.filter(({ dp }) => dp > 1).map((mesh) => ({ ...mesh, shard: true }))].map(
    (mesh) => planOn(run, mesh),
  );
  return plans.find(({ total }) => total <= usableBytes) ?? plans.reduce((a, b) => (b.total < a.total ? b : a));
}

/**
 * The mesh for at most `gpus` GPUs, as many on each of the hosts, among which the windows of an update can be divided evenly; one rank a
 * host if there is no GPU.
 */
export function chooseEvenMesh(run: PlannedRun, gpus: number, hosts = 1): Mesh {
  for (let count = Math.max(hosts, gpus - (gpus % hosts)); count > 1; count -= hosts) {
    const { mesh } = chooseMesh(run, count);
    if (run.windows % mesh.dp === 0) return mesh;
  }
  return { pp: 1, dp: 1, tp: 1, shard: false };
}

/** The machines of a run. */
export interface Hosts {
  readonly count: number;
  /** Of each; 0 if it has none, or that is not known. */
  readonly gpus: number;
}

/** @throws UserError `bad-argument` for a mesh on which no ranks could compute the run. */
export function requireRunnable(run: PlannedRun, mesh: Mesh, hosts: Hosts = { count: 1, gpus: 0 }): void {
  const { spec, whole, windows } = run;
  const [ranks, depth] = [ranksOf(mesh), depthOf(run)];
  const refuse = (problem: string, wayOut: string): never => {
    throw userError('bad-argument', `--mesh ${meshText(mesh)} cannot be used: ${problem}.`, wayOut);
  };
  if (!whole && mesh.pp > depth)
    refuse(`${plural(depth, 'layer')} cannot be cut into ${mesh.pp} stages`, 'Take a smaller pp.');
  if (!whole && mesh.tp > 1 && spec.qkNorm === 'heads')
    refuse('each head of this model has a norm of its own, which is not divided among ranks', 'Take tp=1.');
  if (!whole && !canShareHeads(spec, mesh.tp))
    refuse(
      `${plural(spec.kvHeads, 'key head')} cannot be shared evenly among ${mesh.tp} tensor parallel ranks`,
      'Take a smaller tp.',
    );
  if (windows % mesh.dp !== 0)
    refuse(
      `an update has ${plural(windows, 'window')}, which ${mesh.dp} data parallel ranks cannot share evenly`,
      'Change --batch-size or --accumulation, or choose another --mesh.',
    );
  if (ranks % hosts.count !== 0)
    refuse(`${plural(ranks, 'rank')} cannot be shared evenly among ${hosts.count} hosts`, 'Choose another --mesh.');
  if (hosts.gpus > 0 && ranks / hosts.count > hosts.gpus)
    refuse(
      `PyTorch sees ${plural(hosts.gpus, 'GPU')} for ${plural(ranks / hosts.count, 'rank')}`,
      `Name at most ${plural(hosts.gpus * hosts.count, 'rank')}.`,
    );
}

/**
 * Of a rank that trains the whole model: numbers, gradients and moments of all of it. The head's gradient is made apart from the others'.
 * Under way, an estimate: what each layer keeps for its way back, and in 16 bits the layers' weights once more.
 */
function wholeMemory(run: PlannedRun): RankMemory {
  const { spec, exits, batch, tokens, bytes } = run;
  const kept = 14 * spec.hidden + 4 * spec.feedForward;
  const rounded = bytes === 2 ? 2 * spec.layers.length * layerSize(spec) : 0;
  return {
    backbone: bytesPerTrained * modelSize(spec),
    exits: bytesPerTrained * trainedSize(run, exits),
    heads: 4 * spec.vocabulary * spec.hidden,
    working: spec.layers.length * batch * tokens * kept * bytes + rounded + chunkArrays * chunkBytes,
  };
}

function memoryOn(run: PlannedRun, mesh: Mesh): RankMemory {
  if (run.whole) return wholeMemory(run);
  const { spec, exits, distils, bytes } = run;
  const cuts = stages(run, mesh.pp);
  const layer = layerSize(spec);
  const parts = mesh.tp * (mesh.shard ? mesh.dp : 1);
  const ranks = cuts.map(({ first, last }, stage) => {
    const own = exitsOf(exits, first, last);
    // The last stage once has the layers behind the deepest exit, to judge the others by.
    const layers = (stage === mesh.pp - 1 ? spec.layers.length : last) - first + 1;
    const embedding = first === 1 ? bytes * embeddingSize(spec) : 0;
    // Of sharded weights, the layer that computes is there as a whole.
    const gathered = mesh.shard && mesh.dp > 1 ? (bytes * layer) / mesh.tp : 0;
    return {
      backbone: (bytes * layers * layer) / parts + embedding,
      exits: bytesPerTrained * trainedSize(run, own),
      heads: own.length > 0 || stage === mesh.pp - 1 ? 4 * spec.vocabulary * spec.hidden : 0,
      working: workingSize(run, own.length, mesh, stage, distils) + gathered,
    };
  });
  const most = (part: keyof RankMemory): number => Math.max(...ranks.map((rank) => rank[part]));
  return { backbone: most('backbone'), exits: most('exits'), heads: most('heads'), working: most('working') };
}

function workingSize(
  { spec, batch, tokens, bytes }: PlannedRun,
  exits: number,
  mesh: Mesh,
  stage: number,
  distils: boolean,
): number {
  const states = batch * tokens * spec.hidden;
  // Passes that a stage is ahead of its exits, each with the cuts of its exits; one layer's own products; states in 32 bits.
  const ahead = (mesh.pp - stage) * (exits + 1) * states * bytes;
  const inLayer = (batch * tokens * (2 * spec.feedForward + 4 * spec.hidden) * bytes) / mesh.tp;
  return ahead + inLayer + 4 * (3 + Number(distils)) * states + (exits > 0 ? chunkArrays * chunkBytes : 0);
}

/** Bytes an update that all ranks together give away. */
function trafficOn(run: PlannedRun, mesh: Mesh): Plan['traffic'] {
  if (run.whole) return wholeTraffic(run, mesh);
  const { spec, exits, windows, tokens, distils, bytes } = run;
  const cuts = stages(run, mesh.pp);
  const states = windows * tokens * spec.hidden * bytes;
  const listening = cuts.slice(0, -1).filter(({ first, last }) => exitsOf(exits, first, last).length > 0).length;
  const holders = mesh.dp * mesh.tp;
  const depth = cuts.at(-1)!.last;
  const passes = Math.ceil(windows / mesh.dp / run.batch) * mesh.dp;
  return {
    hidden: (mesh.pp - 1) * states * mesh.tp,
    final: distils ? listening * states * mesh.tp : 0,
    // Behind each exit's gradient two numbers are summed: its loss and its cross-entropy.
    gradients: holders > 1 ? holders * 4 * (trainedSize(run, exits) + 2 * exits.length) : 0,
    bookkeeping: ranksOf(mesh) > 1 ? ranksOf(mesh) * 8 * (3 * exits.length + 6) : 0,
    // After attention and after the MLP of every layer.
    tensor: mesh.tp > 1 ? 2 * depth * states * mesh.tp : 0,
    // Every pass gathers every layer once.
    weights: mesh.shard && mesh.dp > 1 ? passes * depth * layerSize(spec) * bytes : 0,
  };
}

/** Gradients of all that is trained, with two numbers for every exit, the final one among them. */
function wholeTraffic(run: PlannedRun, { dp }: Mesh): Plan['traffic'] {
  const exits = run.exits.length + 1;
  const trained = modelSize(run.spec) + trainedSize(run, run.exits);
  const isAlone = dp === 1;
  return {
    hidden: 0,
    final: 0,
    gradients: isAlone ? 0 : dp * 4 * (trained + 2 * exits),
    bookkeeping: isAlone ? 0 : dp * 8 * (3 * exits + 6),
    tensor: 0,
    weights: 0,
  };
}

function hoursOn(run: PlannedRun, mesh: Mesh): number {
  if (run.whole) return wholeHours(run, mesh);
  const { spec, exits, tokens, distils } = run;
  const seconds = stages(run, mesh.pp).map(({ first, last }) => {
    const own = exitsOf(exits, first, last);
    const attention = 2 * tokens * spec.heads * spec.headDimensions;
    const layers = (last - first + 1) * (2 * layerSize(spec) + attention);
    const head = spec.vocabulary * spec.hidden;
    // Forward and two products backward of what an exit trains; a shared head is read and sent back through.
    const learned = own.reduce(
      (sum, exit) => sum + 6 * trainedSize(run, [exit]) + (exit.head.kind === 'shared' ? 4 * head : 0),
      0,
    );
    const teacher = distils && own.length > 0 ? 2 * head : 0;
    return layers / mesh.tp / assumedSpeeds.backbone + (learned + teacher) / mesh.tp / assumedSpeeds.exits;
  });
  return (1e9 * Math.max(...seconds)) / mesh.dp / 3600;
}

/** Forward and two products backward of everything, the teacher once more. */
function wholeHours(run: PlannedRun, { dp }: Mesh): number {
  const { spec, exits, tokens, distils } = run;
  const attention = 6 * tokens * spec.heads * spec.headDimensions;
  const layers = spec.layers.length * (6 * layerSize(spec) + attention);
  const head = spec.vocabulary * spec.hidden;
  const shared = exits.filter(({ head }) => head.kind === 'shared').length;
  const heads = 6 * (trainedSize(run, exits) + (1 + shared) * head) + (distils ? 2 * head : 0);
  const seconds = layers / assumedSpeeds.backbone + heads / assumedSpeeds.exits;
  return (1e9 * seconds) / dp / 3600;
}

/** Layers that are divided among stages. */
const depthOf = ({ spec, exits, distils }: PlannedRun): number =>
  distils ? spec.layers.length : Math.max(...exits.map(({ layer }) => layer));

/** Whether ranks can have equally many heads each; a norm with a gain for each head is not divided. */
const canShareHeads = (spec: ModelSpec, tp: number): boolean =>
  tp === 1 || (spec.qkNorm !== 'heads' && spec.kvHeads % tp === 0);

const exitsOf = (exits: readonly ExitSpec[], first: number, last: number): ExitSpec[] =>
  exits.filter(({ layer }) => layer >= first && layer <= last);

/** Numbers of one decoder layer, and of what its tokens enter by. */
const layerSize = (spec: ModelSpec): number => sizeOf(spec, /^layers\.0\./);
const embeddingSize = (spec: ModelSpec): number => sizeOf(spec, /^embed_/);

function trainedSize({ spec, parameters }: PlannedRun, exits: readonly ExitSpec[]): number {
  const shapes = new Map(expectedParameters(spec).map(({ name, shape, optional }) => [name, { shape, optional }]));
  const backbone = parameters ?? {
    has: (name: string): boolean => shapes.has(name) && !(shapes.get(name)!.optional && name.endsWith('.bias')),
    shape: (name: string): readonly number[] => shapes.get(name)!.shape,
  };
  return exits
    .flatMap((exit) => exitParameters(spec, exit, backbone))
    .reduce((sum, parameter) => sum + parameterSize(parameter), 0);
}
