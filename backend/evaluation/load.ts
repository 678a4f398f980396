/** What this machine is, and how busy others keep it. */
import os from 'node:os';

/** The processor's name and its cores. */
export const machineName = (): string =>
  `${os.cpus()[0]?.model.trim() || 'a processor without a name'}, ${os.cpus().length} cores`;

/** From now on: cores that other processes kept busy on average until the function given back is called. */
export function watchLoad(): () => number {
  const [started, busy, own] = [performance.now(), busyTime(), ownTime()];
  return () => {
    const elapsed = performance.now() - started;
    const others = busyTime() - busy - (ownTime() - own);
    return elapsed > 0 ? Math.max(0, others / elapsed) : 0;
  };
}

/** Milliseconds in which cores computed, all together. */
const busyTime = (): number =>
  os.cpus().reduce((sum, { times }) => sum + times.user + times.nice + times.sys + times.irq, 0);

/** Milliseconds of this process, all its threads. */
function ownTime(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}
