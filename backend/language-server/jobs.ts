/** What an editor does to exits beside tuning: calibrating, evaluating, export, import and report, each as the command does it. */
import type { JobEvents } from '../../protocol/jobs.ts';
import { parseOptions, settingOrigin } from '../../protocol/options/options.ts';
import * as protocol from '../../protocol/server.ts';
import { absolutePatterns } from '../data/texts/documents.ts';
import type { Engine } from '../worker/engine.ts';
import { resolveModel } from '../recipes/at-hand/shipped-model.ts';
import type { Answering } from './models.ts';
import { progressOf } from './run-texts.ts';

type Event = JobEvents[protocol.JobKind];

export function answerJobs({ answer, notify }: Pick<Answering, 'answer' | 'notify'>, engine: Engine): void {
  answer(protocol.runJob, async ({ job, kind, options, folder }, token) => {
    const running = start(engine, kind, options, folder);
    token.onCancellationRequested(() => running.cancel());
    const outcomes: protocol.JobOutcome[] = [];
    for await (const event of running.read() as AsyncIterable<Event>) {
      if (event.type === 'phase' || event.type === 'progress')
        notify(protocol.jobProgressed, { job, ...progressOf(event) });
      else if (isOutcome(event)) outcomes.push(event);
    }
    await running.finished;
    return { outcomes };
  });
}

const isOutcome = (event: Event): event is protocol.JobOutcome =>
  protocol.outcomeTypes.some((type) => type === event.type);

function start(
  engine: Engine,
  kind: protocol.JobKind,
  given: protocol.RecipeOptions,
  folder: string | undefined,
): ReturnType<Engine['start']> {
  const parsed = parseOptions(kind, given, settingOrigin);
  const data = 'data' in parsed ? { data: absolutePatterns(parsed.data, folder) } : {};
  const model = 'model' in parsed ? { model: resolveModel(parsed.model) } : {};
  return engine.start(kind, { ...parsed, ...data, ...model });
}
