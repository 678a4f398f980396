/** Where reference data and models lie, and small helpers to compare with them. */
import { existsSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { packageRoot } from '../../backend/system/installed.ts';

/** From a bundle, too. */
const root = packageRoot();
export const fixtures = join(root, 'test/fixtures/golden');
export const shippedModel = join(root, 'models/typescript-5m');

const models = process.env['EARLY_EXIT_MODELS'] ?? resolve(root, '../shared/models');
const big = join(models, 'SmolLM2-135M-Instruct.Q4_1.gguf');

/** A golden model that is a mixture of experts: nothing is differentiated through a router. */
export const isMixture = (name: string): boolean => /moe|mixtral|gpt[-_]oss/.test(name);

/** The big model, or null (with a message) where it is absent. */
export function bigModel(): string | null {
  if (existsSync(big)) return big;
  console.warn('Skipped: SmolLM2-135M-Instruct.Q4_1.gguf is not in EARLY_EXIT_MODELS.');
  return null;
}

export const readGolden = <T>(...path: string[]): T => JSON.parse(readFileSync(join(fixtures, ...path), 'utf8')) as T;

/** NaN if any value is. */
export function maxDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) throw new Error(`${a.length} values beside ${b.length}`);
  let worst = 0;
  for (let i = 0; i < a.length; i++) {
    const difference = Math.abs(a[i]! - b[i]!);
    if (Number.isNaN(difference)) return NaN;
    if (difference > worst) worst = difference;
  }
  return worst;
}
