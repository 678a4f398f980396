/** Memory of graphs that are no longer kept goes back to the system, whatever shapes they had. */
import { execFileSync } from 'node:child_process';
import { expect, test } from 'vitest';
import { libraryFolder } from '../../../backend/ggml/packages.ts';
import { bundled } from '../../support/bundled.ts';
import { shippedModel } from '../../support/golden.ts';

test.skipIf(libraryFolder() === null || process.platform !== 'linux')(
  'the C library holds little of it back after 300 passes of 150 shapes',
  () => {
    const output = execFileSync(process.execPath, [bundled('memory-child'), shippedModel], { encoding: 'utf8' });
    const { held } = JSON.parse(output) as { held: number };
    expect(held / 2 ** 20).toBeLessThan(24);
  },
  120_000,
);
