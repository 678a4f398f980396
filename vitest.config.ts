import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/{unit,parity,golden,install,distributed}/**/*.test.ts'],
    setupFiles: ['test/support/event-loop.ts'],
    // onnxruntime-node and TensorFlow.js keep global state: one process a file, two at a time.
    pool: 'forks',
    poolOptions: { forks: { maxForks: 2, minForks: 1 } },
    testTimeout: 60_000,
  },
});
