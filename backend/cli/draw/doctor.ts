/** Draws the doctor's findings: one line per device, and how to install what is missing. */
import type { DoctorEvent, Finding } from '../../../protocol/events.ts';
import { drawEvents } from './progress.ts';
import { table } from './table.ts';
import type { Stream, Terminal } from './terminal.ts';

export async function showDoctor(events: AsyncIterable<DoctorEvent>, terminal: Terminal): Promise<void> {
  const { out, err } = terminal;
  const { bold, dim, cyan } = out.colours;
  const findings: Finding[] = [];
  await drawEvents(events, err, {
    finding: (event) => void findings.push(event),
    diagnosed(event, progress) {
      progress.end();
      out.write(
        table(
          findings.map((finding) => [mark(out, finding), finding.name, finding.detail]),
          aligns,
        ),
      );
      const missing = findings.filter((finding) => finding.remedy !== null);
      if (missing.length > 0) out.write(`\n${bold('What is missing, and how to get it')}\n`);
      for (const { name, remedy } of missing) out.write(`  ${name}: ${cyan(remedy)}\n`);
      out.write(
        `\n${bold('auto')} runs the model on ${bold(event.device)} and tunes exits on ${bold(event.exitDevice)}\n`,
      );
      out.write(`${dim(event.reason)}\n`);
    },
  });
}

const aligns = ['left', 'left', 'left'] as const;

function mark(stream: Stream, { state }: Finding): string {
  const { green, yellow, dim } = stream.colours;
  switch (state) {
    case 'ready':
      return green('✓ ready');
    case 'absent':
      return yellow('○ absent');
    case 'unusable':
      return dim('– unusable');
  }
}
