/** Completions for an editor: a job of the model for each gap, and its texts as traces. */
import { userError } from '../../protocol/errors.ts';
import type { CompleteEvent } from '../../protocol/events.ts';
import { emptyTrace, roundToken, type Trace } from '../../protocol/exittrace.ts';
import { parseOptions, settingOrigin } from '../../protocol/options/options.ts';
import type { CompletionLimits, CompletionResult, Gap } from '../../protocol/completion.ts';
import { isHubId, modelBase } from '../../protocol/models.ts';
import type { RecipeOptions } from '../../protocol/server.ts';
import type { Engine } from '../worker/engine.ts';
import { localModel } from '../hub/hub.ts';
import { resolveModel } from '../recipes/at-hand/shipped-model.ts';
import { ruleOf, type GenerationReport } from './generations.ts';

export interface CompletionParams {
  readonly gap: Gap;
  readonly limits: CompletionLimits;
  readonly options: RecipeOptions;
}

/** Ends with nothing once the signal fires. Downloads no model. Throws what the engine throws, and `not-found` for a model that is not here. */
export async function complete(
  engine: Engine,
  { gap, limits, options }: CompletionParams,
  report: Pick<GenerationReport, 'ready' | 'warning'>,
  signal: AbortSignal,
): Promise<CompletionResult> {
  const generate = parseOptions('generate', options, settingOrigin);
  if (signal.aborted) throw userError('cancelled', 'Cancelled.');
  const model = resolveModel(generate.model);
  if (isHubId(model) && localModel(model) === null)
    throw userError(
      'not-found',
      `${model} is not on this machine.`,
      'Choose it with Choose Model, which downloads it.',
    );
  const job = engine.start('complete', { model, generate, gap, limits });
  const cancel = (): void => job.cancel();
  signal.addEventListener('abort', cancel);
  const head = emptyTrace({ model: modelBase(generate.model), prompt: gap.prefix });
  let end: Extract<CompleteEvent, { type: 'completed' }> | null = null;
  try {
    for await (const event of job.read()) {
      if (event.type === 'ready') {
        head.layers = event.layers;
        head.exits = [...event.exits.map(({ exit }) => exit), 'final'];
        head.policy = ruleOf(event);
        report.ready(event);
      } else if (event.type === 'warning') report.warning(event.message);
      else if (event.type === 'completed') end = event;
    }
    await job.finished;
  } finally {
    signal.removeEventListener('abort', cancel);
  }
  if (end === null || signal.aborted) throw userError('cancelled', 'Cancelled.');
  const { suggestions, fills, promptTokens, rememberedTokens } = end;
  const traces = suggestions.map(({ tokens, stop }): Trace => ({ ...head, stop, tokens: tokens.map(roundToken) }));
  return { suggestions: traces, fills, promptTokens, rememberedTokens };
}
