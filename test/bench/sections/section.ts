/** What a section of the bench is. */
import { bigModel, realModels, shippedModel } from '../material.ts';
import type { Model } from '../../../backend/model/open.ts';
import type { Clock, Measurement, Measurements } from '../measure.ts';
import type { Findings, Table } from '../report.ts';

export interface BenchOptions {
  /** Rounds in which contestants take turns. */
  readonly rounds: number;
  /** GGUF files or model folders to measure instead of those at hand. */
  readonly models: readonly string[];
  /** Exits to measure with; null: tuned by the section. */
  readonly exits: string | null;
  readonly threads: number;
  /** Of the sections that run contestants in processes of their own. */
  readonly clock: Clock;
  /** Tokens of context to measure instead of a section's own; none: its own. */
  readonly contexts: readonly number[];
  /** A look while developing: the small end of long tables will do. */
  readonly isDraft: boolean;
  /** Whether code that a model writes may be run here, to judge it. */
  readonly runCode: boolean;
  /** How many of the judged tasks; null: all. */
  readonly first: number | null;
  /** In which ways judged tasks are answered, beside full depth; none: in a section's own. */
  readonly ways: readonly string[];
}

export type Section = {
  readonly title: string;
  /** Said before it begins. */
  readonly takes: string;
  /** Takes the time by the clock of the options; the others always by the wall's. */
  readonly clocks?: true;
} & (
  | { readonly each: 'once'; run(options: BenchOptions): Promise<Findings> }
  | { readonly each: 'model'; run(options: BenchOptions, model: string): Promise<Findings> }
);

/** Says on stderr how far a measurement is. */
export const progress =
  (what: string, rounds: number) =>
  (round: number): void =>
    console.error(`  ${what}: ${round < 0 ? 'warm-up' : `round ${round + 1} of ${rounds}`}`);

/** The models named by the options, else those at hand. */
export function modelsOf({ models }: BenchOptions): string[] {
  if (models.length) return [...models];
  const big = bigModel();
  return [...(big === null ? [] : [big]), shippedModel, ...realModels()];
}

/** Lengths with room for `more` tokens, cut down where the model sees less. */
export const fitting = (lengths: readonly number[], more: number, { spec }: Model): number[] => [
  ...new Set(lengths.map((tokens) => Math.min(tokens, spec.contextLength - more - 2))),
];

export const named = (prefix: string, measured: Measurements): Measurement[] =>
  [...measured.values()].map((one) => ({ ...one, name: `${prefix}: ${one.name}` }));

/** Of several measurements; tables of the same caption are one. */
export function merged(found: readonly Findings[]): Findings {
  const tables = new Map<string, Table>();
  for (const table of found.flatMap((one) => one.tables)) {
    const before = tables.get(table.caption);
    tables.set(table.caption, before ? { ...before, rows: [...before.rows, ...table.rows] } : table);
  }
  return {
    goals: found.flatMap(({ goals }) => goals),
    tables: [...tables.values()],
    notes: [],
    measurements: found.flatMap(({ measurements }) => measurements),
  };
}

/** Whether a model is of the size that people have on disk, for which some goals are others: a layer reads a token's width. */
export const isBillions = ({ spec }: Model): boolean => spec.hidden >= 1024;
