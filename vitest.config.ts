import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/** Files that take longest, which begin first: one of them begun last would leave the other process with nothing to do. */
const longest = [
  'parity/gpu',
  'unit/recipes/calibrate',
  'parity/resume-recipe',
  'parity/cpu-variants',
  'install/release',
  'unit/recipes/tune',
  'golden/decode',
  'unit/trial/small',
  'parity/lossless',
  'golden/exits',
  'parity/step',
  'unit/server/server',
  'unit/runtime/pass-bits',
];

/** For a process, its threads and its children. */
const oneThread = ['--import', new URL('test/support/one-thread.mjs', import.meta.url).href];

class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const place = ({ moduleId }: TestSpecification): number => {
      const found = longest.findIndex((name) => moduleId.endsWith(`/test/${name}.test.ts`));
      return found < 0 ? longest.length : found;
    };
    return (await super.sort(files)).sort((a, b) => place(a) - place(b));
  }
}

/** The one file that Node loads of a package; its modules are hundreds, and each test file would transform them anew. */
const { resolve: fileOf } = createRequire(import.meta.url);

export default defineConfig({
  resolve: {
    alias: {
      // There is no editor here; what tests load of the extension finds as much of its API as they need.
      vscode: fileURLToPath(new URL('test/support/vscode.ts', import.meta.url)),
      '@tensorflow/tfjs-core': fileOf('@tensorflow/tfjs-core'),
      '@tensorflow/tfjs-backend-cpu': fileOf('@tensorflow/tfjs-backend-cpu'),
    },
  },
  test: {
    include: ['test/{unit,parity,golden,install,distributed}/**/*.test.ts'],
    globalSetup: ['test/support/bundle.ts'],
    setupFiles: ['test/support/event-loop.ts', 'test/support/bundled-worker.ts'],
    // onnxruntime-node and TensorFlow.js keep global state: one process a file, two at a time.
    pool: 'forks',
    poolOptions: { forks: { maxForks: 2, minForks: 1, execArgv: oneThread } },
    env: { NODE_OPTIONS: oneThread.join(' ') },
    sequence: { sequencer: LongestFirst },
    testTimeout: 60_000,
  },
});
