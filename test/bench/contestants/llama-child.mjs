/** Runs llama.cpp through node-llama-cpp in a process of its own, as its parent asks: open, start, pull. */
import { pathToFileURL } from 'node:url';

let context = null;
let sequence = null;
let tokens = null;

const requests = {
  async open({ library, model, threads, contextSize }) {
    const { getLlama } = await import(pathToFileURL(library).href);
    const llama = await getLlama({ gpu: false, build: 'never', progressLogs: false, maxThreads: threads });
    const loaded = await llama.loadModel({ modelPath: model, gpuLayers: 0 });
    context = await loaded.createContext({ contextSize, threads });
    sequence = context.getSequence();
    return 0;
  },
  async start({ ids }) {
    await tokens?.return();
    await sequence.clearHistory();
    const started = performance.now();
    tokens = sequence.evaluate(ids, { temperature: 0, yieldEogToken: true });
    await tokens.next();
    return (performance.now() - started) / 1000;
  },
  async pull({ count }) {
    const started = performance.now();
    for (let i = 0; i < count; i++) {
      if ((await tokens.next()).done) throw new Error('the sequence ended before the measurement did');
    }
    return (performance.now() - started) / 1000;
  },
};

process.on('message', (request) => {
  requests[request.type](request).then(
    (seconds) => process.send({ seconds }),
    (error) => process.send({ error: error instanceof Error ? error.message : String(error) }),
  );
});
