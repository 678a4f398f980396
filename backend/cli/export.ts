/** Draws `export` and `import`: what is written, and to which folder. */
import type { ExportEvent } from '../../protocol/events.ts';
import path from 'node:path';
import { openProgress } from './progress.ts';
import type { Terminal } from './terminal.ts';

export async function showExport(events: AsyncIterable<ExportEvent>, { out, err }: Terminal): Promise<void> {
  const progress = openProgress(err);
  try {
    for await (const event of events) {
      if (event.type !== 'saved') progress.show(event);
      else {
        progress.end();
        for (const file of event.files) out.write(`${path.join(event.path, file)}\n`);
      }
    }
  } finally {
    progress.status.clear();
  }
}
