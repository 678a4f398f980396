/** Alone in its file: it takes the path away, which others need. */
import { chmodSync, existsSync, symlinkSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { expect, it, vi } from 'vitest';
import { openSandbox } from '../../../../backend/evaluation/tasks/sandbox.ts';
import { file, temporaryFolder } from '../../formats/fixtures.ts';

/** A PATH of what starts a judge alone. */
function barePath(): string {
  const folder = temporaryFolder();
  const places = process.env['PATH']!.split(delimiter);
  for (const name of process.platform === 'win32' ? [] : ['sh', 'nice'])
    symlinkSync(places.map((place) => join(place, name)).find(existsSync)!, join(folder, name));
  return folder;
}

it('tasks whose tests are Python are refused without one, before anything is written', async () => {
  vi.stubEnv('PATH', barePath());
  await expect(openSandbox(new Set(['python']))).rejects.toThrow(/Python, and there is no python3 \(3\.8 or newer\)/);
  // Tests of JavaScript need none.
  (await openSandbox(new Set(['javascript']))).dispose();
  vi.unstubAllEnvs();
});

it.skipIf(process.platform === 'win32')(
  'so they are with a Python that cannot judge, which would be no answer’s fault',
  async () => {
    const folder = barePath();
    // It answers the question who it is, and cannot do more.
    chmodSync(file(folder, 'python3', '#!/bin/sh\n[ "$1" = -c ] && echo "$0" && exit\nexit 1\n'), 0o700);
    vi.stubEnv('PATH', folder);
    await expect(openSandbox(new Set(['python']))).rejects.toThrow(
      /python3 cannot run the tests of these tasks: it ends before/,
    );
    vi.unstubAllEnvs();
  },
);
