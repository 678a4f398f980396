/** What a user reads where ggml's libraries are not installed. */
import { expect, test, vi } from 'vitest';
import { UserError } from '../../../protocol/errors.ts';
import type { Device } from '../../../backend/devices/devices.ts';
import { placeOn } from '../../../backend/devices/fallback.ts';
import { platformPackage } from '../../../backend/system/installed.ts';
import type * as Packages from '../../../backend/ggml/packages.ts';
import { openStagedModel } from '../../../backend/runtime/open.ts';
import { tinyModel } from '../../support/models.ts';

let name: string | null = '@node-llama-cpp/linux-x64';
vi.mock('../../../backend/ggml/packages.ts', async (original) => ({
  ...(await original<typeof Packages>()),
  packageName: () => name,
  libraryFolder: () => null,
}));

const cpu: Device = { kind: 'cpu', share: null, name: 'cpu', reason: '', named: false };

function refusal(): unknown {
  try {
    return placeOn(cpu, () => expect.unreachable());
  } catch (error) {
    return error;
  }
}

test('a job says in one sentence which package is missing, and where the command is that brings it', async () => {
  const error = refusal();
  expect(error).toBeInstanceOf(UserError);
  expect(error).toMatchObject({
    code: 'device',
    message: `Models are computed by ggml, and the package ${platformPackage} is not installed.`,
    wayOut: `Install ${platformPackage}: "early-exit doctor" names the command.`,
  });
  await expect(openStagedModel(tinyModel())).rejects.toThrow((error as UserError).message);
});

test('where there is no package for the platform, nothing is to be installed', async () => {
  vi.resetModules();
  name = null;
  const { placeOn: fresh } = await import('../../../backend/devices/fallback.ts');
  expect(() => fresh(cpu, () => expect.unreachable())).toThrow(
    `Models are computed by ggml, and there are no libraries of ggml for ${process.platform}-${process.arch}.`,
  );
});
