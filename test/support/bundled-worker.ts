/** Threads of a test run what was bundled once. */
import { bundled } from './bundled.ts';

process.env['EARLY_EXIT_BUNDLED_WORKER'] = bundled('worker');
