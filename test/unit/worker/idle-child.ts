/** Runs a job, closes the engine with its idle thread, and says that it goes on. */
import { createEngine, runIn } from '../../../backend/worker/engine.ts';
import { parseOptions } from '../../../protocol/options/options.ts';

// Both are bundled.
const entry = new URL('fake-entry.js', import.meta.url);
const engine = createEngine({ entry, idleMilliseconds: 60_000, graceMilliseconds: Infinity });
for await (const event of runIn(engine, 'tune', parseOptions('tune', { model: 'counts' }))) console.log(event.type);
await engine.dispose();
console.log('goes on');
