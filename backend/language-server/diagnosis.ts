/** The doctor for an editor: its findings, and the remedies. */
import type { Finding } from '../../protocol/events.ts';
import { parseOptions, settingOrigin } from '../../protocol/options/options.ts';
import * as protocol from '../../protocol/server.ts';
import type { Engine } from '../worker/engine.ts';
import type { Answering } from './models.ts';
import { progressOf } from './run-texts.ts';

/** `runtime`: why the backend runs as it does. */
export function answerDoctor({ answer, notify, warn }: Answering, engine: Engine, runtime: () => string): void {
  answer(protocol.doctor, async ({ job, install }, token) => {
    const options = parseOptions('doctor', install === null ? {} : { install }, settingOrigin);
    const running = engine.start('doctor', options);
    token.onCancellationRequested(() => running.cancel());
    const findings: Finding[] = [{ name: 'backend', state: 'ready', detail: runtime(), remedy: null }];
    let conclusion = '';
    for await (const event of running.read()) {
      if (event.type === 'finding') findings.push(findingOf(event));
      else if (event.type === 'warning') warn(event.message);
      else if (event.type === 'phase' || event.type === 'progress')
        notify(protocol.jobProgressed, { job, ...progressOf(event) });
      else conclusion = `Model on ${event.device}, exits on ${event.exitDevice}: ${event.reason}`;
    }
    await running.finished;
    return { findings, conclusion };
  });
}

const findingOf = ({ name, state, detail, remedy }: Finding): Finding => ({ name, state, detail, remedy });
