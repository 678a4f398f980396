/** Ending the process while its threads compute. */
import { readdirSync, readFileSync } from 'node:fs';
import { constants } from 'node:os';

/** Used if a signal to this process itself has no effect, as for the first process of a container. */
const IGNORED_MILLISECONDS = 500;

/**
 * Ends this process at once, with the signal's own exit code in a shell (130 for SIGINT). `process.exit` would end the threads in the
 * middle of native calls, which aborts; an unhandled signal runs no destructors. What its threads have started ends first.
 */
export function endAtOnce(signal: 'SIGINT' | 'SIGTERM'): void {
  for (const child of children()) {
    try {
      process.kill(child, 'SIGKILL');
    } catch {
      // It has just ended.
    }
  }
  process.removeAllListeners(signal);
  process.kill(process.pid, signal);
  setTimeout(() => process.exit(128 + constants.signals[signal]), IGNORED_MILLISECONDS);
}

/**
 * Processes that this process's threads have started, as Linux lists them. On other systems they are not ended: each ends within seconds.
 */
function children(): number[] {
  try {
    return readdirSync('/proc/self/task').flatMap((thread) =>
      readFileSync(`/proc/self/task/${thread}/children`, 'utf8').split(' ').filter(Boolean).map(Number),
    );
  } catch {
    return [];
  }
}
