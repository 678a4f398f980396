/** Whether the model's own rows can stand beside those of an exit's shortlist. */
import type { ParameterValues } from '../model/overlay.ts';
import type { Parameters } from '../model/parameters.ts';
import { exitPath, shortlistOf, type ExitSpec } from './spec.ts';

/** Rows that are compared, from all over the list. */
const compared = 64;
/** Tuned for minutes, copies have 0.999; noise has 0, and rows into which a fit was folded have less, too. */
const leastCosine = 0.97;

/**
 * Whether the rows of an exit's shortlist are still nearly the model's, so that the model's own row says how probable a token is that the
 * list lacks: the mean cosine of some rows of both. False for an exit without a shortlist.
 */
export function keepsRows(
  { parameters }: { readonly parameters: Pick<Parameters, 'rows'> },
  exit: ExitSpec | null,
  tuned: ReadonlyMap<string, ParameterValues>,
): boolean {
  const own = exit && tuned.get(`${exitPath(exit)}.head.weight`)?.data;
  const tokens = shortlistOf(exit);
  if (!own || !tokens?.length) return false;
  const step = Math.ceil(tokens.length / compared);
  const classes = Array.from({ length: Math.ceil(tokens.length / step) }, (_, i) => i * step);
  const rows = parameters.rows(
    'lm_head.weight',
    classes.map((i) => tokens[i]!),
  );
  const width = rows.length / classes.length;
  const cosines = classes.map((at, i) =>
    cosine(own.subarray(at * width, (at + 1) * width), rows.subarray(i * width, (i + 1) * width)),
  );
  return cosines.reduce((sum, one) => sum + one, 0) / cosines.length >= leastCosine;
}

/** 0 if either vector is zero. */
function cosine(a: Float32Array, b: Float32Array): number {
  let [both, aa, bb] = [0, 0, 0];
  for (let i = 0; i < a.length; i++) {
    both += a[i]! * b[i]!;
    aa += a[i]! ** 2;
    bb += b[i]! ** 2;
  }
  return both === 0 ? 0 : both / Math.sqrt(aa * bb);
}
