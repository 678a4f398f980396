/** Names the machine that figures were taken on. */
import os from 'node:os';

export interface Machine {
  readonly processor: string;
  readonly cores: number;
  /** GB. */
  readonly memory: number;
  readonly system: string;
  readonly node: string;
}

/** Processes that wanted to run in the last minute, a core: above some tenths, figures are those of a busy machine. */
export const loadPerCore = (): number => os.loadavg()[0]! / os.availableParallelism();

export const thisMachine = (): Machine => ({
  processor: os.cpus()[0]?.model.trim() ?? 'unknown processor',
  cores: os.availableParallelism(),
  memory: Math.round(os.totalmem() / 1e9),
  system: `${os.type()} ${os.arch()}`,
  node: process.versions.node,
});
