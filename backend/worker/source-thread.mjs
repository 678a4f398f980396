/** Starts a thread from TypeScript sources, where nothing is bundled: tests and scripts run under tsx. */
import { pathToFileURL } from 'node:url';
import { workerData } from 'node:worker_threads';

/** A run of tests bundles the usual entry once, which starts in a fraction of the time. */
const bundled = process.env.EARLY_EXIT_BUNDLED_WORKER;

if (bundled && workerData.entry === new URL('./entry.ts', import.meta.url).href) {
  await import(pathToFileURL(bundled).href);
} else {
  const { register } = await import('tsx/esm/api');
  register();
  await import(workerData.entry);
}
