/** Every request and notification with parameters of wrong types: refused by name of the field, and the server goes on. */
import { PassThrough } from 'node:stream';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  createConnection,
  createProtocolConnection,
  ErrorCodes,
  ResponseError,
  StreamMessageReader,
  StreamMessageWriter,
  type ProtocolConnection,
} from 'vscode-languageserver/node';
import { serve } from '../../../backend/language-server/server.ts';
import { emptyTrace } from '../../../protocol/exittrace.ts';
import * as protocol from '../../../protocol/server.ts';
import { userError } from '../../../protocol/errors.ts';
import { fakeEngine } from './fake-engine.ts';

const opinion = {
  exit: 'final',
  layer: 6,
  confidence: 1,
  token: { id: 1, text: 'x', probability: 1 },
  candidates: [{ id: 1, text: 'x', probability: 1 }],
};
const draft = { source: '3:mlp', accepted: true };
const token = {
  sequence: 0,
  index: 0,
  id: 1,
  text: 'x',
  layer: 6,
  exit: 'final',
  confidence: 1,
  draft,
  opinions: [opinion],
};
const textDocument = { uri: 'file:///a.ts' };
const position = { line: 0, character: 0 };

/** Right parameters of every request, all fields set. */
const requests: Record<string, object> = {
  [protocol.startRun.method]: { title: 't', options: {}, folder: '/f' },
  [protocol.stopRun.method]: { id: 'r' },
  [protocol.pauseRun.method]: { id: 'r' },
  [protocol.resumeRun.method]: { id: 'r' },
  [protocol.listRuns.method]: {},
  [protocol.readRun.method]: { id: 'r', from: 0 },
  [protocol.generate.method]: { generation: 'g', prompt: 'p', options: {} },
  [protocol.attachTrace.method]: {
    generation: 'g',
    uri: textDocument.uri,
    offset: 0,
    trace: emptyTrace({ layers: 6, exits: ['final'], stop: 'length', tokens: [token] }),
  },
  [protocol.placeTokens.method]: { generation: 'g', offset: 0, count: 1 },
  [protocol.readTraces.method]: { uri: textDocument.uri },
  [protocol.listExits.method]: { folders: ['/nowhere'] },
  [protocol.listModels.method]: { folders: ['/nowhere'] },
  [protocol.readStatus.method]: {},
  [protocol.doctor.method]: { job: 'j', install: 'vulkan' },
  [protocol.runJob.method]: { job: 'j', kind: 'calibrate', options: {}, folder: '/f' },
  'textDocument/codeLens': { textDocument },
  'textDocument/hover': { textDocument, position },
  'textDocument/inlayHint': { textDocument, range: { start: position, end: position } },
  'textDocument/documentSymbol': { textDocument },
  'textDocument/semanticTokens/full': { textDocument },
};
const notifications: Record<string, object> = {
  [protocol.detachTrace.method]: { generation: 'g' },
  [protocol.displayChanged.method]: {
    codeLens: true,
    inlayHints: true,
    lineFigures: true,
    hover: true,
    semanticTokens: true,
  },
  'textDocument/didOpen': { textDocument: { ...textDocument, languageId: 'exittrace', version: 1, text: '' } },
  'textDocument/didChange': {
    textDocument: { ...textDocument, version: 1 },
    contentChanges: [{ text: 'x', range: { start: position, end: position } }],
  },
  'textDocument/didClose': { textDocument },
};

const anything: readonly unknown[] = [undefined, null, true, 7, -1, 0.5, 'toString', '', [], [[]], {}, { uri: {} }];
const kind = (value: unknown): string => (value === null ? 'null' : Array.isArray(value) ? 'list' : typeof value);

interface Wrong {
  /** The field that is wrong, such as `trace.tokens[0].layer`; empty for the parameters themselves. */
  readonly field: string;
  readonly params: unknown;
}

/** Each value in `right`, itself included, replaced by each value of another type. */
function* mutations(right: unknown, field = ''): Generator<Wrong> {
  for (const wrong of anything) if (kind(wrong) !== kind(right)) yield { field, params: wrong };
  if (typeof right !== 'object' || right === null) return;
  for (const [key, value] of Object.entries(right)) {
    const name = Array.isArray(right) ? `${field}[${key}]` : field === '' ? key : `${field}.${key}`;
    for (const inner of mutations(value, name)) {
      const copy = (Array.isArray(right) ? [...(right as unknown[])] : { ...right }) as Record<string, unknown>;
      copy[key] = inner.params;
      yield { ...inner, params: copy };
    }
  }
}

/** What may be null or absent, and records whose content is read elsewhere. */
const isAllowed = ({ field, params }: Wrong): boolean => {
  const value = valueAt(params, field);
  if (value === undefined)
    return /^(codeLens|inlayHints|lineFigures|hover|semanticTokens)$|\.(draft|opinions|range)$|^folder$/.test(field);
  return value === null && /(^trace\.stop|opinions\[0\]\.token|^install)$/.test(field);
};
const valueAt = (params: unknown, field: string): unknown =>
  field
    .split(/[.[\]]+/)
    .filter((key) => key !== '')
    .reduce((value, key) => (value as Record<string, unknown>)[key], params);

let client: ProtocolConnection;
const logged: string[] = [];

beforeAll(async () => {
  const up = new PassThrough();
  const down = new PassThrough();
  const server = createConnection(new StreamMessageReader(up), new StreamMessageWriter(down));
  serve(
    server,
    fakeEngine((job) => job.end(userError('bad-model', 'There is none.'))),
  );
  server.listen();
  client = createProtocolConnection(new StreamMessageReader(down), new StreamMessageWriter(up));
  client.onNotification('window/logMessage', ({ message }: { message: string }) => void logged.push(message));
  client.listen();
  await client.sendRequest('initialize', { processId: null, rootUri: null, capabilities: {} });
});
afterAll(() => client.dispose());

const answerOf = async (method: string, params: unknown): Promise<unknown> => {
  try {
    return await client.sendRequest(method, params);
  } catch (error) {
    return error;
  }
};

describe('parameters', () => {
  it.each(Object.entries(requests))('%s: right ones are taken', async (method, params) => {
    const answer = await answerOf(method, params);
    if (answer instanceof ResponseError) expect(answer.code).not.toBe(ErrorCodes.InvalidParams);
  });

  it.each(Object.entries(requests))('%s: wrong ones are refused by the field’s name', async (method, right) => {
    const wrong = [...mutations(right)].filter((one) => !isAllowed(one));
    expect(wrong.length).toBeGreaterThan(5);
    for (const { field, params } of wrong) {
      const answer = await answerOf(method, params);
      expect([params, answer]).toEqual([params, expect.any(ResponseError)]);
      const { code, message } = answer as ResponseError;
      expect([params, code, message]).toEqual([params, ErrorCodes.InvalidParams, expect.any(String)]);
      if (field !== '') expect(message).toContain(`${method}: ${field} must be`);
      expect(message).not.toMatch(/undefined|TypeError|not a function|not iterable|Cannot/);
    }
  });

  it.each(Object.entries(notifications))('%s: wrong ones are named in the log', async (method, right) => {
    const wrong = [...mutations(right)].filter((one) => one.field !== '' && !isAllowed(one));
    logged.length = 0;
    for (const { params } of wrong) await client.sendNotification(method, params as object);
    await client.sendRequest(protocol.readStatus.method, {});
    expect(logged).toHaveLength(wrong.length);
    wrong.forEach(({ field }, i) => expect(logged[i]).toContain(`${method}: ${field} must be`));
  });

  it('are some thousands', () => {
    const all = [...Object.values(requests), ...Object.values(notifications)].flatMap((right) => [...mutations(right)]);
    expect(all.length).toBeGreaterThan(800);
  });

  it('of initialize are held to their shape too', async () => {
    const up = new PassThrough();
    const down = new PassThrough();
    const server = createConnection(new StreamMessageReader(up), new StreamMessageWriter(down));
    serve(server, fakeEngine());
    server.listen();
    const other = createProtocolConnection(new StreamMessageReader(down), new StreamMessageWriter(up));
    other.listen();
    const initialize = (initializationOptions: unknown) =>
      other.sendRequest('initialize', { processId: null, rootUri: null, capabilities: {}, initializationOptions });
    await expect(initialize({ runs: 5 })).rejects.toMatchObject({
      code: ErrorCodes.InvalidParams,
      message: 'initializationOptions: runs must be a text, but is 5.',
    });
    await expect(initialize({ display: { hover: 'x' } })).rejects.toThrow(
      'initializationOptions: display.hover must be',
    );
    await expect(initialize(null)).resolves.toMatchObject({ serverInfo: { name: 'early-exit' } });
    other.dispose();
  });
});
