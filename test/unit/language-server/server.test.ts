import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { PassThrough } from 'node:stream';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  createConnection,
  createProtocolConnection,
  StreamMessageReader,
  StreamMessageWriter,
  type Connection,
  type ProtocolConnection,
} from 'vscode-languageserver/node';
import { serve } from '../../../backend/language-server/server.ts';
import { userError } from '../../../protocol/errors.ts';
import { emptyTrace } from '../../../protocol/exittrace.ts';
import * as protocol from '../../../protocol/server.ts';
import type { TokenRecord } from '../../../protocol/trace.ts';
import { temporaryFolder } from '../formats/fixtures.ts';
import { fakeEngine, type FakeJob } from './fake-engine.ts';

const uri = 'file:///a.ts';
const tokens: TokenRecord[] = ['return', ' a;'].map((text, index) => ({
  sequence: 0,
  index,
  id: index,
  text,
  layer: 3 + 3 * index,
  exit: `${3 + 3 * index}:mlp`,
  confidence: 0.5,
}));
const generated = { texts: [''], stops: ['length'], promptTokens: 1, tokens: 2, meanLayer: 4.5, layers: 12 };

let client: ProtocolConnection;
let server: Connection;
let leave: () => Promise<void>;
let onStart: (job: FakeJob) => void;
let send: <P, R>(message: protocol.Request<P, R>, params: P) => Promise<R>;

const connect = async (
  initializationOptions: Partial<protocol.ServerOptions> = {},
  capabilities: object = {},
): Promise<void> => {
  const up = new PassThrough();
  const down = new PassThrough();
  server = createConnection(new StreamMessageReader(up), new StreamMessageWriter(down));
  onStart = () => {};
  leave = serve(
    server,
    fakeEngine((job) => onStart(job)),
  );
  server.listen();
  client = createProtocolConnection(new StreamMessageReader(down), new StreamMessageWriter(up));
  client.listen();
  send = (message, params) => client.sendRequest(message.method, params);
  const parameters = { processId: null, rootUri: null, capabilities, initializationOptions };
  await client.sendRequest('initialize', parameters);
  await client.sendNotification('initialized', {});
};
beforeEach(() => connect());
afterEach(() => client.dispose());

describe('the language server', () => {
  it('tells each token of a generation once, and answers with what is true of all', async () => {
    onStart = (job) => {
      expect(job.options).toMatchObject({ prompt: ['let x'], candidates: 2 });
      const ready = { model: 'm', layers: 12, exits: [{ exit: '3:mlp', layer: 3 }], device: 'cpu' };
      job.push({ type: 'ready', ...ready, mode: 'fast', policy: 'confidence 0.8, not calibrated' });
      job.push({ type: 'warning', message: 'Tokens leave early.' });
      for (const token of tokens) job.push({ type: 'token', token });
      job.push({ type: 'generated', ...generated, tokensPerSecond: 7, promptSeconds: 1 });
      job.end();
    };
    const seen: TokenRecord[] = [];
    const warned: string[] = [];
    client.onNotification('window/logMessage', ({ message }: { message: string }) => void warned.push(message));
    client.onNotification(protocol.tokensGenerated.method, ({ tokens: some }: { tokens: TokenRecord[] }) => {
      seen.push(...some);
    });
    const options = { model: '/models/m', candidates: 2 };
    const result = await send(protocol.generate, { generation: 'g', prompt: 'let x', options });
    expect(seen).toEqual(tokens);
    expect(result).toMatchObject({ stop: 'length', tokensPerSecond: 7, meanLayer: 4.5 });
    expect(warned).toEqual(['Tokens leave early.']);
    const policy = 'fast, confidence 0.8, not calibrated';
    const head = { model: 'm', layers: 12, exits: ['3:mlp', 'final'], policy, prompt: 'let x' };
    expect(result.trace).toEqual({ ...head, stop: 'length' });
    const status = { activity: 'idle', model: 'm', device: 'cpu', mode: 'fast', tokensPerSecond: 7 };
    expect(await send(protocol.readStatus, {})).toMatchObject(status);
  });

  it('keeps tokens that an editor writes into a document until it says where they stand', async () => {
    onStart = (job) => {
      const ready = { model: 'm', layers: 12, exits: [{ exit: '3:mlp', layer: 3 }], device: 'cpu' };
      job.push({ type: 'ready', ...ready, mode: 'fast', policy: null });
      for (const token of tokens) job.push({ type: 'token', token });
      job.push({ type: 'generated', ...generated, tokensPerSecond: 7, promptSeconds: 1 });
      job.end();
    };
    const text = 'fn: return a; return a;';
    await client.sendNotification('textDocument/didOpen', {
      textDocument: { uri, languageId: 'typescript', version: 1, text },
    });
    const generate = (generation: string, prompt: string, written = true): Promise<unknown> =>
      send(protocol.generate, { generation, prompt, options: { model: 'm' }, ...(written && { uri }) });
    const place = (generation: string, count: number, offset = 4): Promise<unknown> =>
      send(protocol.placeTokens, { generation, offset, count });
    await generate('g', 'fn: ');
    expect(await place('g', 1)).toEqual({ attached: true });
    expect(await place('g', 1)).toEqual({ attached: true });
    const head = emptyTrace({ model: 'm', layers: 12, exits: ['3:mlp', 'final'], prompt: 'fn: ' });
    const seen = async (): Promise<unknown> => send(protocol.readTraces, { uri });
    expect(await seen()).toEqual([{ generation: 'g', offset: 4, trace: { ...head, tokens } }]);
    // All of it is placed, so nothing is kept any more.
    expect(await place('g', 0)).toEqual({ attached: false });
    await send(protocol.attachTrace, { generation: 'g', uri, offset: 4, trace: { ...head, stop: 'length' } });
    // What continues it has its prompt and the places behind its tokens.
    const [first, second] = tokens as [TokenRecord, TokenRecord];
    tokens[0] = { ...first, text: ' return' };
    try {
      await generate('g', 'fn: return a;');
      expect(await place('g', 2)).toEqual({ attached: true });
      const all = [first, second, { ...tokens[0], index: 2 }, { ...second, index: 3 }];
      expect(await seen()).toEqual([{ generation: 'g', offset: 4, trace: { ...head, tokens: all } }]);
    } finally {
      tokens[0] = first;
    }
    // Nothing is kept of one that is written elsewhere, of one that was forgotten, and of a document that was closed.
    await generate('elsewhere', 'fn: ', false);
    expect(await place('elsewhere', 1)).toEqual({ attached: false });
    await generate('h', 'fn: ');
    await client.sendNotification(protocol.detachTrace.method, { generation: 'h' });
    expect(await place('h', 1)).toEqual({ attached: false });
    await generate('i', 'fn: ');
    await client.sendNotification('textDocument/didClose', { textDocument: { uri } });
    // Opened again as another language, it has what it had.
    await client.sendNotification('textDocument/didOpen', {
      textDocument: { uri, languageId: 'javascript', version: 1, text },
    });
    expect(await place('i', 1)).toEqual({ attached: true });
    expect(await seen()).toHaveLength(2);
    await client.sendNotification('textDocument/didClose', { textDocument: { uri } });
    await client.sendNotification('textDocument/didOpen', {
      textDocument: { uri, languageId: 'javascript', version: 1, text },
    });
    expect(await place('i', 1)).toEqual({ attached: false });
  });

  it('shows lenses that follow edits and go when the text is edited', async () => {
    const text = 'fn() {\n  return a;\n}\n';
    await client.sendNotification('textDocument/didOpen', {
      textDocument: { uri, languageId: 'typescript', version: 1, text },
    });
    const trace = emptyTrace({ layers: 12, tokens });
    expect(await send(protocol.attachTrace, { uri, generation: 'g', offset: 8, trace })).toEqual({ attached: false });
    expect(await send(protocol.attachTrace, { uri, generation: 'g', offset: 9, trace })).toEqual({ attached: true });
    const lensLines = async (): Promise<number[]> => {
      const lenses = await client.sendRequest('textDocument/codeLens', { textDocument: { uri } });
      return (lenses as { range: { start: { line: number } } }[]).map((lens) => lens.range.start.line);
    };
    const change = (line: number, character: number, inserted: string): Promise<void> =>
      client.sendNotification('textDocument/didChange', {
        textDocument: { uri, version: 2 },
        contentChanges: [{ range: { start: { line, character }, end: { line, character } }, text: inserted }],
      });
    expect(await lensLines()).toEqual([1]);
    await change(0, 0, 'a\nb\n');
    expect(await lensLines()).toEqual([3]);
    expect(await send(protocol.readTraces, { uri })).toEqual([{ generation: 'g', offset: 13, trace }]);
    await client.sendNotification(protocol.displayChanged.method, { codeLens: false, hover: true });
    expect(await lensLines()).toEqual([]);
    await client.sendNotification(protocol.displayChanged.method, { codeLens: true, hover: true });
    await change(3, 4, 'x');
    expect(await lensLines()).toEqual([]);
  });

  it('asks an editor to request again what it says it can, whatever that answers', async () => {
    client.dispose();
    await connect({}, { workspace: { codeLens: { refreshSupport: true }, inlayHint: { refreshSupport: true } } });
    const asked: string[] = [];
    for (const what of ['codeLens', 'inlayHint', 'semanticTokens'])
      client.onRequest(`workspace/${what}/refresh`, () => {
        asked.push(what);
        throw new Error('not now');
      });
    await client.sendNotification(protocol.displayChanged.method, { codeLens: true });
    for (let i = 0; i < 2; i++) await send(protocol.readStatus, {});
    expect(asked.sort()).toEqual(['codeLens', 'inlayHint']);
  });

  it('takes back what was wrong with a trace file once that is closed', async () => {
    const told: number[] = [];
    const count = ({ diagnostics }: { diagnostics: unknown[] }): void => void told.push(diagnostics.length);
    client.onNotification('textDocument/publishDiagnostics', count);
    const textDocument = { uri: 'file:///a.exittrace', languageId: 'exittrace', version: 1, text: 'exittrace 1\nlayers x\n' }; // prettier-ignore
    await client.sendNotification('textDocument/didOpen', { textDocument });
    await client.sendNotification('textDocument/didClose', { textDocument });
    await send(protocol.readStatus, {});
    expect(told).toEqual([1, 0]);
  });

  it('lets a run whose client is gone save, and leaves it to the next server', async () => {
    client.dispose();
    const runs = temporaryFolder();
    await connect({ runs });
    const started = new Promise<FakeJob>((resolve) => (onStart = resolve));
    const text = path.join(runs, 'text.md');
    writeFileSync(text, 'Some text.');
    const { id } = await send(protocol.startRun, { title: 'First', options: { model: 'm', data: [text] } });
    const job = await started;
    server.dispose();
    job.push({ type: 'warning', message: 'a' });
    const events = path.join(runs, id, 'events.jsonl');
    while (!existsSync(events)) await new Promise((resolve) => setTimeout(resolve, 5));
    expect(job.cancelled).toBe(false);
    await leave();
    const record: unknown = JSON.parse(readFileSync(path.join(runs, id, 'run.json'), 'utf8'));
    expect(record).toMatchObject({ summary: { state: 'running' }, owner: null });
  });

  it('hands a user error over as its sentence with its code', async () => {
    onStart = (job) => job.end(userError('bad-model', 'No such model.', 'Choose one.'));
    const failed = send(protocol.generate, { generation: 'g', prompt: '', options: {} });
    await expect(failed).rejects.toMatchObject({ message: 'No such model. Choose one.', data: { code: 'bad-model' } });
  });

  it('answers what is asked of runs once those on record are read', async () => {
    client.dispose();
    const runs = temporaryFolder();
    const figures = { step: 1, steps: 1, tokensPerSecond: 1, secondsLeft: 0 };
    const told = { title: 'First', state: 'finished', model: 'm', exits: [], directory: '/a.exits', message: 'Done.' };
    const summary = { id: 'a', startedAt: '2026-01-01T00:00:00.000Z', ...told, ...figures };
    mkdirSync(path.join(runs, 'a'));
    writeFileSync(path.join(runs, 'a', 'run.json'), JSON.stringify({ summary, options: {}, owner: null }));
    await connect({ runs });
    const [listed, read] = await Promise.all([
      send(protocol.listRuns, {}),
      send(protocol.readRun, { id: 'a', from: 0 }),
    ]);
    expect(listed).toEqual([summary]);
    expect(read.run).toEqual(summary);
  });

  it('reports what the doctor found', async () => {
    onStart = (job) => {
      job.push({ type: 'finding', name: 'cpu', state: 'ready', detail: '2 cores', remedy: null });
      job.push({ type: 'finding', name: 'tensorflow', state: 'absent', detail: 'not installed', remedy: 'install it' });
      job.push({ type: 'diagnosed', device: 'cpu', exitDevice: 'cpu', reason: 'no GPU' });
      job.end();
    };
    const { findings, conclusion } = await send(protocol.doctor, { job: 'd', install: null });
    expect(findings.map(({ name, state, remedy }) => [name, state, remedy])).toEqual([
      ['backend', 'ready', null],
      ['cpu', 'ready', null],
      ['tensorflow', 'absent', 'install it'],
    ]);
    expect(conclusion).toBe('Model on cpu, exits on cpu: no GPU');
  });

  it('lets the doctor bring what is named', async () => {
    let asked: unknown;
    onStart = (job) => {
      asked = job.options.install;
      job.end();
    };
    await send(protocol.doctor, { job: 'd', install: 'vulkan' });
    expect(asked).toBe('vulkan');
    await expect(send(protocol.doctor, { job: 'd', install: 'rm' })).rejects.toThrow(/must be/);
  });

  it('calibrates, tells how far it is, and answers what was found', async () => {
    const progress: unknown[] = [];
    client.onNotification(protocol.jobProgressed.method, (now: unknown) => void progress.push(now));
    let options: Record<string, unknown> = {};
    onStart = (job) => {
      ({ options } = job);
      job.push({ type: 'phase', phase: 'measure', detail: 'what layers cost here' });
      job.push({ type: 'progress', phase: 'measure', done: 1, total: 4, unit: 'texts' });
      job.push({ type: 'warning', message: 'too little text' });
      job.end();
    };
    const asked = { exits: '/m.exits', model: '/m', data: ['*.ts'] };
    const { outcomes } = await send(protocol.runJob, { job: 'j', kind: 'calibrate', options: asked, folder: '/work' });
    expect(options).toMatchObject({ model: '/m', exits: '/m.exits', data: ['/work/*.ts'] });
    expect(outcomes).toEqual([{ type: 'warning', message: 'too little text' }]);
    expect(progress).toEqual([
      { job: 'j', message: 'Measuring: what layers cost here', share: null },
      { job: 'j', message: 'Measuring: 1 of 4 texts', share: 0.25 },
    ]);
    // A report is of no model.
    const report = { runs: ['/my.sweep'], out: '/r.html' };
    await send(protocol.runJob, { job: 'j', kind: 'report', options: report });
    expect(options).toMatchObject(report);
    expect(options).not.toHaveProperty('model');
    const unknown = { job: 'j', kind: 'calibrate' as const, options: { nonsense: 1 } };
    await expect(send(protocol.runJob, unknown)).rejects.toThrow(/nonsense is no option of calibrate/);
  });
});
