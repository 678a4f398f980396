/** Draws `export` and `import`: what is written, and to which folder. */
import type { ExportEvent } from '../../../protocol/events.ts';
import path from 'node:path';
import { drawEvents } from './progress.ts';
import type { Terminal } from './terminal.ts';

export async function showExport(events: AsyncIterable<ExportEvent>, { out, err }: Terminal): Promise<void> {
  await drawEvents(events, err, {
    saved(event, progress) {
      progress.end();
      for (const file of event.files) out.write(`${path.join(event.path, file)}\n`);
    },
  });
}
