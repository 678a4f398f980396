/** Starts a thread from TypeScript sources, where nothing is bundled: tests and scripts run under tsx. */
import { workerData } from 'node:worker_threads';
import { register } from 'tsx/esm/api';

register();
await import(workerData.entry);
