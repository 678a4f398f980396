/** Generating for an editor: tokens as they come, the trace at the end. */
import { userError } from '../../protocol/errors.ts';
import type { GenerateEvent, GenerateReadyEvent } from '../../protocol/events.ts';
import { emptyTrace, roundToken, type Trace } from '../../protocol/exittrace.ts';
import { parseOptions, settingOrigin, type GenerateOptions } from '../../protocol/options.ts';
import type { GenerateParams, GenerateResult } from '../../protocol/server.ts';
import type { TokenRecord } from '../../protocol/trace.ts';
import type { Engine } from '../worker/engine.ts';
import { resolveModel } from '../worker/shipped.ts';

export interface GenerationReport {
  readonly ready: (event: GenerateReadyEvent) => void;
  readonly token: (token: TokenRecord) => void;
  readonly warning: (message: string) => void;
}

export interface Generations {
  /** Ends with what there is once the signal fires. Throws what the engine throws, and `cancelled` before the first token. */
  generate(params: GenerateParams, report: GenerationReport, signal: AbortSignal): Promise<GenerateResult>;
}

export function createGenerations(engine: Engine): Generations {
  return {
    async generate(params, report, signal) {
      const options = parseOptions('generate', { ...params.options, prompt: [params.prompt] }, settingOrigin);
      return runGeneration(engine, params, options, report, signal);
    },
  };
}

async function runGeneration(
  engine: Engine,
  params: GenerateParams,
  options: GenerateOptions,
  report: GenerationReport,
  signal: AbortSignal,
): Promise<GenerateResult> {
  const start = performance.now();
  if (signal.aborted) throw userError('cancelled', 'Cancelled.');
  const model = resolveModel(options.model);
  const { turns, gap } = params;
  const job = engine.start('generate', { ...options, model, ...(turns && { turns }), ...(gap && { gap }) });
  const cancel = (): void => job.cancel();
  signal.addEventListener('abort', cancel);
  const tokens: TokenRecord[] = [];
  let head: Pick<Trace, 'layers' | 'exits' | 'policy'> = { layers: 0, exits: [], policy: options.mode };
  let end: Extract<GenerateEvent, { type: 'generated' }> | null = null;
  try {
    for await (const event of job.read()) {
      if (event.type === 'token') {
        const token = roundToken(event.token);
        tokens.push(token);
        report.token(token);
      } else if (event.type === 'ready') {
        const exits = [...event.exits.map(({ exit }) => exit), 'final'];
        head = { layers: event.layers, exits, policy: ruleOf(event) };
        report.ready(event);
      } else if (event.type === 'warning') report.warning(event.message);
      else if (event.type === 'generated') end = event;
    }
    await job.finished;
  } catch (error) {
    if (!signal.aborted || tokens.length === 0) throw error;
  } finally {
    signal.removeEventListener('abort', cancel);
  }
  const trace: Trace = emptyTrace({
    ...head,
    model: modelName(options.model),
    prompt: params.prompt,
    stop: end?.stops[0] ?? 'cancelled',
    tokens,
  });
  return {
    trace,
    stop: trace.stop ?? 'cancelled',
    tokensPerSecond: end?.tokensPerSecond ?? tokens.length / ((performance.now() - start) / 1000),
    meanLayer: end?.meanLayer ?? tokens.reduce((sum, token) => sum + token.layer, 0) / Math.max(1, tokens.length),
  };
}

export const modelName = (model: string): string => model.replace(/[/\\]+$/, '').replace(/^.*[/\\]/, '');

/** What ran, for a reader of the trace: `lossless`, or `fast, confidence 0.8, not calibrated`. */
export const ruleOf = ({ mode, policy }: GenerateReadyEvent): string => [mode, policy].filter(Boolean).join(', ');
