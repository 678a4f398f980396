/** The page of the last trials is what their record says. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { kinds } from '../../trial/kinds.ts';
import { docs, pageIn, readReliability, reliabilityPage } from '../../trial/report.ts';

describe('docs/reliability.md', () => {
  it('is what the record says', async () => {
    expect(readFileSync(pageIn(docs), 'utf8')).toBe(await reliabilityPage(readReliability(docs)));
    const known = kinds.map(({ name, tries, promise, attempts }) => ({ name, tries, promise, attempts }));
    expect(readReliability(docs)).toMatchObject(known);
  });
});
