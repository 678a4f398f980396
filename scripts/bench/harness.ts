/** Alternating measurements: each round runs every contender once, so that whatever else the machine does meets all of them. */

export interface Contender {
  readonly name: string;
  /** One measurement, in the unit of the benchmark. */
  readonly measure: () => Promise<number>;
}

export interface Figures {
  readonly name: string;
  readonly best: number;
  readonly median: number;
  readonly rounds: number;
}

/** A ratio of medians that the project holds itself to. */
export interface Comparison {
  readonly what: string;
  readonly ratio: number;
  readonly atLeast: number;
}

export interface Result {
  readonly benchmark: string;
  readonly title: string;
  readonly unit: string;
  readonly figures: readonly Figures[];
  readonly comparisons: readonly Comparison[];
  /** Conditions, and what could not be measured here. */
  readonly notes: readonly string[];
}

/** `better`: whether the best of several measurements is the largest (tokens/s) or the smallest (seconds). */
export async function alternate(
  contenders: readonly Contender[],
  rounds: number,
  better: 'larger' | 'smaller',
): Promise<Figures[]> {
  const values = new Map<string, number[]>(contenders.map(({ name }) => [name, []]));
  for (const { measure } of contenders) await measure(); // Warm up.
  for (let round = 0; round < rounds; round++) {
    for (const { name, measure } of contenders) values.get(name)!.push(await measure());
  }
  return [...values].map(([name, measured]) => {
    const sorted = measured.toSorted((a, b) => a - b);
    const best = better === 'larger' ? sorted.at(-1)! : sorted[0]!;
    return { name, best, median: sorted[Math.floor(sorted.length / 2)]!, rounds };
  });
}

/** Ratio of the medians of two contenders by name; null where one is missing. */
export function compare(
  figures: readonly Figures[],
  of: string,
  to: string,
  atLeast: number,
  better: 'larger' | 'smaller',
): Comparison[] {
  const [a, b] = [of, to].map((name) => figures.find((each) => each.name === name)?.median);
  if (a === undefined || b === undefined) return [];
  return [{ what: `${of} ÷ ${to}`, ratio: better === 'larger' ? a / b : b / a, atLeast }];
}
