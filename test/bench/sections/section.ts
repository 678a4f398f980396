/** What a section of the bench is. */
import { bigModel, shippedModel } from '../material.ts';
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

/** The models named by the options, else those at hand, one after the other. */
export async function eachModel(
  options: BenchOptions,
  measure: (model: string, options: BenchOptions) => Promise<Findings>,
): Promise<Omit<Findings, 'notes'>> {
  const big = bigModel();
  const models = options.models.length ? options.models : [...(big === null ? [] : [big]), shippedModel];
  const all: Findings[] = [];
  for (const model of models) all.push(await measure(model, options));
  return {
    goals: all.flatMap(({ goals }) => goals),
    tables: all.flatMap(({ tables }) => tables),
    measurements: all.flatMap(({ measurements }) => measurements),
  };
}
