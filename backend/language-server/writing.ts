/** Generations and completions for an editor, and what the status shows of them. */
import * as protocol from '../../protocol/server.ts';
import type { Engine } from '../worker/engine.ts';
import { complete } from './completions.ts';
import { createGenerations, type GenerationReport } from './generations.ts';
import { signalOf, type Answering } from './models.ts';
import type { Shown } from './shown.ts';
import type { StatusKeeper } from './status.ts';
import type { Written } from './written.ts';

/** The tokens of a generation that wait for the editor, and those that its document already has. */
export interface Traces extends Pick<Shown, 'isOpen' | 'traceOf'> {
  readonly written: Written;
}

export function answerWriting(
  { answer, notify, warn }: Answering,
  engine: Engine,
  status: StatusKeeper,
  { written, isOpen, traceOf }: Traces,
): void {
  const generations = createGenerations(engine);
  answer(protocol.generate, (params, token) =>
    status.during('generating', async () => {
      const { generation, uri, prompt } = params;
      let isEmpty = true;
      const known = uri === undefined ? undefined : traceOf(uri, generation);
      const before = known?.tokens.length ?? 0;
      if (uri !== undefined && isOpen(uri)) written.begin(generation, uri, prompt, known);
      const report: GenerationReport = {
        ready: (ready) => {
          status.ready(ready);
          written.ready(generation, ready);
          notify(protocol.generationReady, { generation, ready });
        },
        token: (token) => {
          isEmpty = false;
          written.received(generation, token);
          notify(protocol.tokensGenerated, { generation, tokens: [token] });
        },
        explained: (opinions) => notify(protocol.tokensExplained, { generation, from: before, opinions }),
        warning: warn,
      };
      try {
        const result = await generations.generate(params, report, signalOf(token));
        if (!isEmpty) status.written('generation', result.tokensPerSecond);
        return result;
      } finally {
        written.end(generation);
      }
    }),
  );
  answer(protocol.complete, async (params, token) => {
    const started = performance.now();
    const ready: GenerationReport['ready'] = (event) => status.ready(event);
    const result = await complete(engine, params, { ready, warning: warn }, signalOf(token));
    const tokens = result.suggestions.reduce((sum, trace) => sum + trace.tokens.length, 0);
    if (tokens > 0) status.written('completion', (1000 * tokens) / (performance.now() - started));
    return result;
  });
}
