/** Runs llama.cpp through node-llama-cpp in a process of its own, as its parent asks. */
import { pathToFileURL } from 'node:url';

let context = null;
let sequence = null;
let tokens = null;
let module = null;

const seconds = async (work) => {
  const started = performance.now();
  await work();
  return (performance.now() - started) / 1000;
};

const requests = {
  /** Loads the library's JavaScript, which opening a model does not count. */
  async load({ library }) {
    module = await import(pathToFileURL(library).href);
    return 0;
  },
  open: ({ model, threads, contextSize }) =>
    seconds(async () => {
      const llama = await module.getLlama({ gpu: false, build: 'never', progressLogs: false, maxThreads: threads });
      const loaded = await llama.loadModel({ modelPath: model, gpuLayers: 0 });
      context = await loaded.createContext({ contextSize, threads });
      sequence = context.getSequence();
    }),
  async start({ prompts: [ids] }) {
    await tokens?.return();
    await sequence.clearHistory();
    return seconds(async () => {
      tokens = sequence.evaluate(ids, { temperature: 0, yieldEogToken: true });
      await tokens.next();
    });
  },
  /** So many tokens behind a prompt, of which what is the last one's is not read again. */
  async goOn({ ids, count }) {
    await tokens?.return();
    return seconds(async () => {
      await sequence.adaptStateToTokens(ids.slice(0, -1), false);
      tokens = sequence.evaluate(ids.slice(sequence.nextTokenIndex), { temperature: 0, yieldEogToken: true });
      for (let i = 0; i < count; i++) if ((await tokens.next()).done) break;
    });
  },
  pull: ({ count }) =>
    seconds(async () => {
      for (let i = 0; i < count; i++) {
        if ((await tokens.next()).done) throw new Error('the sequence ended before the measurement did');
      }
    }),
  /** Ids of the most probable line behind a prompt, up to what ends it. */
  async line({ ids, most, ends }) {
    await tokens?.return();
    await sequence.clearHistory();
    const said = [];
    tokens = sequence.evaluate(ids, { temperature: 0, yieldEogToken: true });
    for await (const token of tokens) {
      said.push(token);
      if (said.length >= most || ends.includes(token) || sequence.model.detokenize([token]).includes('\n')) break;
    }
    return said.filter((token) => !ends.includes(token));
  },
  /** The first token behind a prompt, and the seconds that it took. */
  async first({ ids }) {
    await tokens?.return();
    await sequence.clearHistory();
    tokens = sequence.evaluate(ids, { temperature: 0, yieldEogToken: true });
    return requests.next();
  },
  /** The token after it. */
  async next() {
    let token;
    const took = await seconds(async () => void (token = (await tokens.next()).value));
    return { token, seconds: took };
  },
  memory: async () => process.memoryUsage.rss(),
};

process.on('message', (request) => {
  const before = process.cpuUsage();
  requests[request.type](request).then(
    (value) => {
      const { user, system } = process.cpuUsage(before);
      process.send({ value, processor: (user + system) / 1e6 });
    },
    (error) => process.send({ error: error instanceof Error ? error.message : String(error) }),
  );
});
