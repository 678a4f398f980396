/** Generating for an editor: one after the other for each model, tokens as they come, the trace at the end. */
import { userError } from '../../protocol/errors.ts';
import type { GenerateEvent, ReadyEvent } from '../../protocol/events.ts';
import { emptyTrace, roundToken, type Trace } from '../../protocol/exittrace.ts';
import { parseOptions, settingOrigin, type GenerateOptions } from '../../protocol/options.ts';
import type { GenerateParams, GenerateResult } from '../../protocol/server.ts';
import type { TokenRecord } from '../../protocol/trace.ts';
import type { Engine } from '../worker/engine.ts';
import { resolveModel } from '../worker/shipped.ts';

export interface GenerationReport {
  readonly ready: (event: ReadyEvent) => void;
  readonly token: (token: TokenRecord) => void;
}

export interface Generations {
  /** Ends with what there is once the signal fires. Throws what the engine throws, and `cancelled` before the first token. */
  generate(params: GenerateParams, report: GenerationReport, signal: AbortSignal): Promise<GenerateResult>;
}

export function createGenerations(engine: Engine): Generations {
  const queues = new Map<string, Promise<unknown>>();
  return {
    async generate(params, report, signal) {
      const options = parseOptions('generate', { ...params.options, prompt: [params.prompt] }, settingOrigin);
      const before = queues.get(options.model);
      const done = (async () => {
        await before?.catch(() => {});
        if (signal.aborted) throw userError('cancelled', 'Cancelled.');
        return runGeneration(engine, params, options, report, signal);
      })();
      queues.set(options.model, done);
      return done;
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
  const job = engine.start('generate', { ...options, model: resolveModel(options.model) });
  const cancel = (): void => job.cancel();
  signal.addEventListener('abort', cancel);
  const tokens: TokenRecord[] = [];
  let head: Pick<Trace, 'layers' | 'exits'> = { layers: 0, exits: [] };
  let end: Extract<GenerateEvent, { type: 'generated' }> | null = null;
  try {
    for await (const event of job.read()) {
      if (event.type === 'token') {
        const token = roundToken(event.token);
        tokens.push(token);
        report.token(token);
      } else if (event.type === 'ready') {
        head = { layers: event.layers, exits: [...event.exits.map(({ exit }) => exit), 'final'] };
        report.ready(event);
      } else if (event.type === 'generated') end = event;
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
    policy: policyText(options),
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

const modelName = (model: string): string => model.replace(/[/\\]+$/, '').replace(/^.*[/\\]/, '');

function policyText({ mode, policy, threshold, patience }: GenerateOptions): string {
  if (mode === 'full') return 'full';
  if (policy === 'patience') return `patience ${patience}`;
  const own = Object.entries(threshold.exits).map(([exit, value]) => `${exit}=${value}`);
  return [policy, [threshold.all, ...own].join(',')].join(' ');
}
