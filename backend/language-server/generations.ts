/** Generating for an editor: tokens as they are written, and the figures of the whole at the end. */
import { describeError, userError } from '../../protocol/errors.ts';
import type { GenerateEvent, GenerateReadyEvent } from '../../protocol/events.ts';
import { headOf, roundOpinion, roundToken, type Trace } from '../../protocol/exittrace.ts';
import { modelBase } from '../../protocol/models.ts';
import { parseOptions, settingOrigin, type GenerateOptions } from '../../protocol/options/options.ts';
import type { GenerateParams, GenerationEnd } from '../../protocol/server.ts';
import type { ExitOpinion, TokenRecord } from '../../protocol/trace.ts';
import type { Engine } from '../worker/engine.ts';
import { resolveModel } from '../recipes/at-hand/shipped-model.ts';

export interface GenerationReport {
  readonly ready: (event: GenerateReadyEvent) => void;
  readonly token: (token: TokenRecord) => void;
  /** What every exit predicted for each token; comes after the end. */
  readonly explained: (opinions: ExitOpinion[][]) => void;
  readonly warning: (message: string) => void;
}

type Generated = Extract<GenerateEvent, { type: 'generated' }>;

export interface Generations {
  /** When the signal fires, it ends with what is written so far. Throws what the engine throws, and `cancelled` before the first token. */
  generate(params: GenerateParams, report: GenerationReport, signal: AbortSignal): Promise<GenerationEnd>;
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
): Promise<GenerationEnd> {
  const start = performance.now();
  if (signal.aborted) throw userError('cancelled', 'Cancelled.');
  const model = resolveModel(options.model);
  const { turns, gap, explained } = params;
  const special = { ...(turns && { turns }), ...(gap && { gap }), ...(explained && { explained }) };
  const job = engine.start('generate', { ...options, model, ...special });
  const cancel = (): void => job.cancel();
  signal.addEventListener('abort', cancel);
  let tokens = 0;
  let layers = 0;
  let head: Pick<Trace, 'layers' | 'exits' | 'policy'> = { layers: 0, exits: [], policy: options.mode };
  let end: Generated | null = null;
  let isOver = false;
  const follow = async (over: (end: Generated | null) => void): Promise<void> => {
    for await (const event of job.read()) {
      if (event.type === 'token') {
        tokens++;
        layers += event.token.layer;
        report.token(roundToken(event.token));
      } else if (event.type === 'ready') {
        head = { ...headOf(event), policy: ruleOf(event) };
        report.ready(event);
      } else if (event.type === 'warning') report.warning(event.message);
      else if (event.type === 'generated') {
        isOver = true;
        over(event);
      } else if (event.type === 'explained') {
        report.explained(event.opinions.map((place) => place.map(roundOpinion)));
      }
    }
    await job.finished;
    over(null);
  };
  try {
    // What comes behind the text is not waited for; if it fails, the text is whole all the same.
    end = await new Promise<Generated | null>((resolve, reject) => {
      follow(resolve).catch((error: Error) => {
        if (isOver) report.warning(`What the exits predicted is not known: ${describeError(error)}`);
        else reject(error);
      });
    });
  } catch (error) {
    if (!signal.aborted || tokens === 0) throw error;
  } finally {
    signal.removeEventListener('abort', cancel);
  }
  const stop = end?.stops[0] ?? 'cancelled';
  const speedup = typeof end?.speedup === 'number' ? { speedup: Number(end.speedup.toPrecision(3)) } : {};
  return {
    trace: { ...head, model: modelBase(options.model), prompt: params.prompt, stop, ...speedup },
    stop,
    tokensPerSecond: end?.tokensPerSecond ?? tokens / ((performance.now() - start) / 1000),
    meanLayer: end?.meanLayer ?? layers / Math.max(1, tokens),
  };
}

/** What ran, for a reader of the trace: `lossless`, or `fast, confidence 0.8, not calibrated`. */
export const ruleOf = ({ mode, policy }: GenerateReadyEvent): string => [mode, policy].filter(Boolean).join(', ');
