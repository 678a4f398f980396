/** What a section of the bench is. */
import type { Findings } from '../report.ts';

export interface BenchOptions {
  /** Rounds in which contestants take turns. */
  readonly rounds: number;
  /** GGUF files or model folders to measure besides those at hand. */
  readonly models: readonly string[];
  /** Exits for the section `exits`; null: tuned by it. */
  readonly exits: string | null;
  readonly threads: number;
  /** A look while developing: the small end of long tables will do. */
  readonly isDraft: boolean;
}

export interface Section {
  readonly title: string;
  /** Said before it begins. */
  readonly takes: string;
  run(options: BenchOptions): Promise<Findings>;
}

/** Says on stderr how far a measurement is. */
export const progress =
  (what: string, rounds: number) =>
  (round: number): void =>
    console.error(`  ${what}: ${round < 0 ? 'warm-up' : `round ${round + 1} of ${rounds}`}`);
