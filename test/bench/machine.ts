/** Names the machine that figures were taken on. */
import { existsSync, readFileSync } from 'node:fs';
import os from 'node:os';
import { setTimeout } from 'node:timers/promises';

export interface Machine {
  /** With `AMX` if it has that: products of several tokens are other ones then. */
  readonly processor: string;
  readonly cores: number;
  /** GB. */
  readonly memory: number;
  /** With `large pages` where glibc was asked for them. */
  readonly system: string;
  readonly node: string;
}

/** Above this share of the processors, other work shows in the figures. */
export const busy = 0.1;

/** Seconds over which a machine is watched, and how often it is looked at again before a bench begins anyway. */
const watched = 3;
const patience = 20;

/** Waits until nothing else runs, a minute at most by default; answers the share of the processors that others took at last. */
export async function untilQuiet(most = patience): Promise<number> {
  for (let looks = 1; ; looks++) {
    const before = ticks();
    await setTimeout(1000 * watched);
    const after = ticks();
    const share = 1 - (after.idle - before.idle) / (after.all - before.all);
    if (share <= busy || looks === most) return share;
  }
}

function ticks(): { idle: number; all: number } {
  const times = os.cpus().map(({ times }) => times);
  const idle = times.reduce((sum, one) => sum + one.idle, 0);
  return { idle, all: times.reduce((sum, { idle, irq, nice, sys, user }) => sum + idle + irq + nice + sys + user, 0) };
}

const processorName = (): string =>
  os
    .cpus()[0]
    ?.model.replaceAll(/\((R|TM)\)| Processor/g, '')
    .trim() ?? 'unknown processor';

const hasAmx = (): boolean => existsSync('/proc/cpuinfo') && /\bamx_int8\b/.test(readFileSync('/proc/cpuinfo', 'utf8'));

export const thisMachine = (): Machine => ({
  processor: `${processorName()}${hasAmx() ? ', AMX' : ''}`,
  cores: os.availableParallelism(),
  memory: Math.round(os.totalmem() / 1e9),
  system: [
    `${os.type()} ${os.arch()}`,
    ...(process.env['GLIBC_TUNABLES']?.includes('hugetlb=1') ? ['large pages'] : []),
  ].join(', '),
  node: process.versions.node,
});
