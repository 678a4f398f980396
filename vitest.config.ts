import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

export default defineConfig({
  // There is no editor here; what tests load of the extension finds as much of its API as they need.
  resolve: { alias: { vscode: fileURLToPath(new URL('test/support/vscode.ts', import.meta.url)) } },
  test: {
    include: ['test/{unit,parity,golden,install,distributed}/**/*.test.ts'],
    setupFiles: ['test/support/event-loop.ts'],
    // onnxruntime-node and TensorFlow.js keep global state: one process a file, two at a time.
    pool: 'forks',
    poolOptions: { forks: { maxForks: 2, minForks: 1 } },
    testTimeout: 60_000,
  },
});
