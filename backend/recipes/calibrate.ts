/**
 * Finds thresholds that keep a promise of agreement, on the model's own text, and leaves out exits that cost more than
 * they save on this machine. Stores them in the checkpoint.
 */
import { join } from 'node:path';
import { userError } from '../../protocol/errors.ts';
import type { CalibrateEvent } from '../../protocol/events.ts';
import type { CalibrateOptions } from '../../protocol/options.ts';
import type { TokenRecord } from '../../protocol/trace.ts';
import { measureCosts } from '../decoding/costs.ts';
import { decode, type DecodeRequest } from '../decoding/decode.ts';
import { greedy } from '../decoding/sampler.ts';
import { calibrate as findThresholds, type ExitView } from '../evaluation/calibration.ts';
import { openStagedModel } from '../runtime/open.ts';
import type { ExitPoint, StagedModel } from '../runtime/staged-model.ts';
import { infoFile, saveCalibration } from '../tuning/checkpoint.ts';
import type { Windows } from '../tuning/features.ts';
import { runtimeOptions } from './backbone.ts';
import { openWithTokenizer, readExits } from './opened.ts';
import { readText, windowsOf } from './text.ts';

/** Each held-out window gives a prompt this long, and the model goes on for as long. */
const promptTokens = 64;
const newTokens = 64;
/** Prompts decoded at once. */
const batch = 8;

/** @throws UserError for a model, checkpoint or text that cannot be used. */
export async function* calibrate(options: CalibrateOptions, signal: AbortSignal): AsyncGenerator<CalibrateEvent, void> {
  if (options.exits === null)
    throw userError('bad-argument', 'There are no exits to calibrate.', 'Name them with --exits.');
  yield { type: 'phase', phase: 'load', detail: options.model };
  const { model, tokenizer } = openWithTokenizer(options.model);
  const closing: (() => void | Promise<void>)[] = [() => model.close()];
  try {
    const held = await readExits(options.exits, model, signal);
    const runtime = runtimeOptions(options);
    const part = options.documents === 'all' ? 'train' : 'heldOut';
    const text = options.documents === 'all' ? { ...options, heldOutFraction: 0 } : options;
    const sets = yield* readText(text, tokenizer, model.spec.contextLength, [part], signal);
    closing.push(() => sets.close());
    const staged = await openStagedModel(model, held, runtime);
    closing.push(() => staged.dispose());
    const exits = staged.exits.filter(({ spec }) => spec !== null);
    const layers = model.spec.layers.length;
    yield {
      type: 'ready',
      model: model.name,
      layers,
      exits: exits.map(({ id, layer }) => ({ exit: id, layer })),
      device: 'cpu',
    };

    const prompts = promptsOf(windowsOf(sets, part), Math.ceil(options.calibrationTokens / newTokens));
    const request: Omit<DecodeRequest, 'prompts'> = {
      maxTokens: newTokens,
      policy: { kind: 'confidence', threshold: () => 1 },
      enabled: () => false,
      sampling: greedy,
      seed: options.seed,
      endOfText: tokenizer.eosIds,
      stopStrings: [],
      candidates: 1,
      drafts: null,
      codec: tokenizer,
      isCancelled: () => signal.aborted,
    };
    yield { type: 'phase', phase: 'generate', detail: `${prompts.length} continuations at full depth` };
    const tokens: TokenRecord[] = [];
    for (let from = 0; from < prompts.length; from += batch) {
      for await (const event of decode(staged, { ...request, prompts: prompts.slice(from, from + batch) })) {
        if (event.type === 'token') tokens.push(event.token);
      }
      signal.throwIfAborted();
      yield {
        type: 'progress',
        phase: 'generate',
        done: Math.min(prompts.length, from + batch),
        total: prompts.length,
        unit: 'prompts',
      };
    }

    yield { type: 'phase', phase: 'evaluate', detail: 'what stages and exits cost here' };
    const costs = await measureCosts(staged, { context: promptTokens + newTokens, rounds: 25 });
    const views = exits.map((exit, k) => viewOf(tokens, exit, k));
    const final = Int32Array.from(tokens, ({ id }) => id);
    const found = findThresholds(views, final, costs, { agreement: options.agreement, confidence: options.certainty });

    const { agreement } = options;
    saveCalibration(options.exits, { step: held.step, agreement, thresholds: found.thresholds });
    yield { type: 'saved', path: options.exits, files: [join(options.exits, infoFile)] };
    yield {
      type: 'calibrated',
      tokens: tokens.length,
      agreement,
      certainty: options.certainty,
      tested: found.agreement,
      exits: exits.map(({ id, layer }, k) => ({
        exit: id,
        layer,
        threshold: found.thresholds[id] ?? null,
        milliseconds: costs.readings[k]!,
      })),
      meanLayer: meanLayer(staged, views, found.thresholds),
      layers,
      speedup: found.speedup,
    };
  } finally {
    for (const close of closing.reverse()) await close();
  }
}

/** The beginnings of windows, spread over the whole text. */
function promptsOf(windows: Windows, wanted: number): number[][] {
  const count = Math.min(wanted, windows.count);
  return Array.from({ length: count }, (_, i) => {
    const { ids } = windows.window(Math.floor((i * windows.count) / count));
    return [...ids.subarray(0, Math.min(promptTokens, ids.length - 1))];
  });
}

function viewOf(tokens: readonly TokenRecord[], { id, stages }: ExitPoint, k: number): ExitView {
  const said = tokens.map(({ opinions }) => opinions![k]!);
  return {
    exit: id,
    stages,
    token: Int32Array.from(said, ({ candidates }) => candidates[0]!.id),
    confidence: Float32Array.from(said, ({ confidence }) => confidence),
    deferred: Uint8Array.from(said, ({ token }) => Number(token === null)),
  };
}

function meanLayer(
  { spec, exits }: StagedModel,
  views: readonly ExitView[],
  thresholds: Readonly<Record<string, number>>,
): number {
  const tokens = views[0]?.token.length ?? 0;
  let layers = 0;
  for (let i = 0; i < tokens; i++) {
    const k = views.findIndex((v) => v.exit in thresholds && !v.deferred[i] && v.confidence[i]! >= thresholds[v.exit]!);
    layers += k === -1 ? spec.layers.length : exits[k]!.layer;
  }
  return tokens ? layers / tokens : spec.layers.length;
}
