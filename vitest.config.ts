import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { globSync } from 'tinyglobby';
import { defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/** Files that take longest, which begin first: one of them begun last would leave the other process with nothing to do. */
const longest = [
  'parity/gpu',
  'unit/recipes/calibrate',
  'parity/resume-recipe',
  'parity/cpu-variants',
  'install/release',
  'unit/recipes/training/tune',
  'unit/trial/small',
  'golden/exits',
  'parity/step',
  'unit/server/server',
];

/**
 * Tests that load no native library, start nothing and leave nothing behind share two threads, in which a module is loaded once. In a process
 * of its own each takes longer to start than to run.
 */
const sharing = globSync(
  [
    'test/unit/{bench,evaluation/report,extension,grammar,language-server,protocol,webview}/**/*.test.ts',
    'test/unit/{docs,guide,imports,packaging}.test.ts',
    'test/unit/cli/{examples,flags}.test.ts',
    'test/unit/cli/draw/*.test.ts',
    'test/unit/cluster/{follow,plan,reported}.test.ts',
    'test/unit/data/{fuzz,prompts/chat,prompts/gap-prompt,prompts/healing}.test.ts',
    'test/unit/data/tokenizer/{byte-pairs,encoding,tokenizer}.test.ts',
    'test/unit/decoding/{drafts/credit,drafts/pace,leaving/mode,lookup,prompts/pooled,repetition,sampling/sampler,turns}.test.ts',
    'test/unit/evaluation/{reliability,scores,sweep-file}.test.ts',
    'test/unit/evaluation/calibration/{calibration,calibration-texts,gates,promise,race}.test.ts',
    'test/unit/evaluation/tasks/{judge,read,record,statistics}.test.ts',
    'test/unit/exits/{parameters,ridge}.test.ts',
    'test/unit/formats/{dequantise,fuzz,safetensors,tfevents,widen}.test.ts',
    'test/unit/ggml/{arena,staging,threads}.test.ts',
    'test/unit/hub/{answers,search}.test.ts',
    'test/unit/model/{families,fuzz,stored-values}.test.ts',
    'test/unit/recipes/{at-hand/catalogue,calibrating/measured-text,installation,reporting,writing/first-prompt,writing/place-end}.test.ts',
    'test/unit/runtime/{progress,ggml/tiles}.test.ts',
    'test/unit/system/installed.test.ts',
    'test/unit/trial/report.test.ts',
    'test/unit/tuning/{best,plan,schedule,trainer}.test.ts',
    'test/unit/worker/inbox.test.ts',
  ],
  {
    cwd: import.meta.dirname,
    ignore: [
      // Mocks of modules, and settings of the editor.
      'test/unit/extension/{backend/backend,chat-provider,settings/settings,settings/workspace-trust,completions/asking,completions/provider,generation/generating}.test.ts',
      // Processes and threads of their own.
      'test/unit/language-server/{runs,serving,stdio}.test.ts',
    ],
  },
);

/**
 * Tests that compute with ggml, without TensorFlow.js, clocks, settings of the process or replaced modules, share a process. It runs them one
 * after the other, while the integration suites have the other processor.
 */
const together = [
  'test/golden/{decode,families,formats,memory}.test.ts',
  'test/parity/{drafts,lossless}.test.ts',
  'test/unit/checkpoint/memory.test.ts',
  'test/unit/data/prompts/fim.test.ts',
  'test/unit/decoding/{batch,cache/kv-cache,decode,grammar,healing,memory,mixture-of-modes}.test.ts',
  'test/unit/decoding/{leaving/gate,leaving/observe,leaving/probation,prompts/prompt-exit}.test.ts',
  'test/unit/devices/{fallback,replaced-slots}.test.ts',
  'test/unit/evaluation/calibration/{calibration-time,prompts,written}.test.ts',
  'test/unit/exits/memory.test.ts',
  'test/unit/export/{export,formats,transformers}.test.ts',
  'test/unit/ggml/{library,products,types,weights}.test.ts',
  'test/unit/model/mixture.test.ts',
  'test/unit/recipes/{export,generate,opening/opened,training/plan,writing/explained}.test.ts',
  'test/unit/runtime/{batch-bits,cut-bits,last-only,memory,open,pass-bits,stored-types}.test.ts',
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
    // onnxruntime-node and TensorFlow.js keep global state: one process a file, two at a time.
    poolOptions: {
      forks: { maxForks: 2, minForks: 1, execArgv: oneThread },
      // A pool takes this from here, and not from its project. All that run in threads share them.
      threads: { maxThreads: 2, minThreads: 1, isolate: false },
    },
    sequence: { sequencer: LongestFirst },
    testTimeout: 60_000,
    projects: [
      {
        extends: true,
        test: {
          name: 'sharing',
          include: sharing,
          pool: 'threads',
          sequence: { groupOrder: 0 },
        },
      },
      {
        extends: true,
        test: {
          name: 'together',
          include: together,
          setupFiles: ['test/support/event-loop.ts'],
          pool: 'forks',
          poolOptions: { forks: { singleFork: true, isolate: false } },
          env: { NODE_OPTIONS: oneThread.join(' ') },
          sequence: { groupOrder: 1 },
        },
      },
      {
        extends: true,
        test: {
          name: 'alone',
          include: ['test/{unit,parity,golden,install,distributed}/**/*.test.ts'],
          exclude: [...sharing, ...together],
          globalSetup: ['test/support/bundle.ts'],
          setupFiles: ['test/support/event-loop.ts', 'test/support/bundled-worker.ts'],
          pool: 'forks',
          env: { NODE_OPTIONS: oneThread.join(' ') },
          sequence: { groupOrder: 2 },
        },
      },
    ],
  },
});
