/** What a person reads where exits cannot be tuned on the CPU, since ONNX Runtime is not here. */
import { afterEach, expect, test, vi } from 'vitest';
import { GraphBuilder } from '../../../backend/onnx/builder.ts';
import { openSession } from '../../../backend/onnx/session.ts';

vi.mock('../../../backend/system/installed.ts', () => ({
  nativePackage: () => null,
  missingLibraries: () => 'the package @early-exit/linux-x64 is not installed',
}));
const { platform, arch } = process;
afterEach(() => on(platform, arch));

function on(system: string, architecture: string): void {
  Object.defineProperty(process, 'platform', { value: system });
  Object.defineProperty(process, 'arch', { value: architecture });
}

const open = (): Promise<unknown> => {
  const builder = new GraphBuilder();
  builder.output(builder.node('Abs', [builder.input('x', 'float32', [1])]), 'y', 'float32', [1]);
  return openSession(builder.build());
};

test.each([
  ['linux', 'x64', 'the package @early-exit/linux-x64 is not installed'],
  ['darwin', 'x64', "it has no library for Macs with Intel's processors"],
])('%s on %s', async (system, architecture, why) => {
  on(system, architecture);
  const error = await open().catch((caught: unknown) => caught);
  expect(error).toMatchObject({
    code: 'device',
    wayOut:
      'Use --initialise copy with --exit-device webgpu or tensorflow, which do without it, or another machine (--on).',
  });
  expect(String(error)).toContain(`ONNX Runtime, which fits and tunes exits on the CPU, is not here: ${why}.`);
});
