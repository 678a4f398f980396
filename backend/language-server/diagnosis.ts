/** The doctor's report as text for a person. */
import { parseOptions, settingOrigin } from '../../protocol/options.ts';
import type { Engine } from '../worker/engine.ts';

const marks = { ready: '✓', absent: '–', unusable: '✗' } as const;

/** Looks and installs nothing. Markdown. */
export async function diagnose(engine: Engine, runtime: string): Promise<string> {
  const lines = ['# Early Exit', '', `- Backend: ${runtime}, ${process.platform} ${process.arch}`];
  const job = engine.start('doctor', parseOptions('doctor', {}, settingOrigin));
  for await (const event of job.read()) {
    if (event.type === 'finding') {
      const remedy = event.remedy === null ? '' : ` → ${event.remedy}`;
      lines.push(`- ${marks[event.state]} ${event.name}: ${event.detail}${remedy}`);
    } else if (event.type === 'warning') lines.push(`- ! ${event.message}`);
    else if (event.type === 'diagnosed') {
      lines.push('', `Model on ${event.device}, exits on ${event.exitDevice}: ${event.reason}`);
    }
  }
  await job.finished;
  return `${lines.join('\n')}\n`;
}
