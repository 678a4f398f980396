/** The page of the last trials is what their record says. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { kinds } from '../../trial/kinds.ts';
import { docs, pageIn, readReliability, reliabilityPage } from '../../trial/report.ts';
import type { Kind } from '../../trial/trial.ts';

describe('docs/reliability.md', () => {
  it('is what the record says', async () => {
    expect(readFileSync(pageIn(docs), 'utf8')).toBe(await reliabilityPage(readReliability(docs)));
    const records = readReliability(docs);
    const saidOf = ({ name, tries, promise }: Pick<Kind, 'name' | 'tries' | 'promise'>) => ({ name, tries, promise });
    expect(records.map(saidOf)).toEqual(kinds.map(saidOf));
    // One that was tried for longer (`--attempts`) is as good.
    for (const [i, { attempts }] of kinds.entries()) expect(records[i]!.attempts).toBeGreaterThanOrEqual(attempts);
  });
});
