/** Ending the process while its threads compute. */
import { constants } from 'node:os';

/** Where a signal of one's own does nothing, as in the first process of a container. */
const IGNORED_MILLISECONDS = 500;

/**
 * Ends this process at once, with the signal's own exit code in a shell (130 for SIGINT). `process.exit` would end the threads in the
 * middle of native calls, which aborts; a signal that nobody handles runs no destructors.
 */
export function endAtOnce(signal: 'SIGINT' | 'SIGTERM'): void {
  process.removeAllListeners(signal);
  process.kill(process.pid, signal);
  setTimeout(() => process.exit(128 + constants.signals[signal]), IGNORED_MILLISECONDS);
}
