import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { recipes } from '../../../../backend/recipes/index.ts';
import { locateModel, modelHere } from '../../../../backend/recipes/opening/model-location.ts';
import { parseOptions } from '../../../../protocol/options/options.ts';
import { gguf, temporaryFolder, text, u32, u64, type GgufParts } from '../../formats/fixtures.ts';

const never = new AbortController().signal;

afterEach(() => vi.unstubAllEnvs());

describe('locateModel', () => {
  it('takes a path that exists as it is, without a word', async () => {
    const folder = temporaryFolder();
    expect(await locateModel(folder, never).next()).toEqual({ done: true, value: folder });
  });

  it('refuses what is neither a path nor a hub id', async () => {
    await expect(locateModel('./none', never).next()).rejects.toMatchObject({ name: 'UserError', code: 'not-found' });
  });
});

describe('modelHere', () => {
  type Entry = NonNullable<GgufParts['entries']>[number];
  const named = (key: string, value: string): Entry => [key, 8, text(value)];
  it.each([
    [
      'an architecture',
      [named('general.architecture', 'mamba'), ['mamba.ssm.state_size', 4, u32(16)] as Entry],
      /m\.gguf: the GGUF architecture "mamba" is not supported: it has state-space layers/,
    ],
    [
      'a tokenizer',
      [named('general.architecture', 'llama'), named('tokenizer.ggml.model', 'bert')],
      /m\.gguf has a tokenizer of kind "bert", which is not supported/,
    ],
    [
      'a pre-tokenizer',
      [
        named('general.architecture', 'llama'),
        named('tokenizer.ggml.model', 'gpt2'),
        named('tokenizer.ggml.pre', 'deepseek-coder'),
      ],
      /m\.gguf has the pre-tokenizer "deepseek-coder", which is not supported/,
    ],
  ])('refuses a GGUF file by its first bytes for %s that nothing here reads', async (_, first, message) => {
    const entries: GgufParts['entries'] = [
      ...first,
      ['tokenizer.ggml.tokens', 9, Buffer.concat([u32(8), u64(2), text('a'.repeat(2 ** 20)), text('b')])],
    ];
    const weights = gguf({ entries, data: new Uint8Array(2 ** 23) });
    const commit = 'a'.repeat(40);
    let sent = 0;
    const hub = createServer((request, response) => {
      const path = new URL(request.url!, 'http://host').pathname;
      if (path === '/api/models/owner/name/revision/main') return response.end(JSON.stringify({ id: '', sha: commit }));
      if (path.startsWith('/api/'))
        return response.end(JSON.stringify([{ type: 'file', path: 'm.gguf', size: weights.length, oid: '' }]));
      response.setHeader('content-length', weights.length);
      for (let at = 0; at < weights.length; at += 2 ** 16) response.write(weights.subarray(at, at + 2 ** 16));
      return response.end(() => (sent = weights.length));
    });
    await new Promise<void>((resolve) => hub.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => {
      hub.closeAllConnections();
      hub.close();
    });
    vi.stubEnv('HF_ENDPOINT', `http://127.0.0.1:${(hub.address() as AddressInfo).port}`);
    vi.stubEnv('EARLY_EXIT_CACHE', temporaryFolder());
    const asked = modelHere('owner/name', {});
    await expect(asked).rejects.toThrow(message);
    expect(sent).toBe(0);
  });
});

describe('recipes', () => {
  it.each([
    ['calibrate', {}, 'There are no exits to calibrate.'],
    ['calibrate', { exits: 'models/typescript-5m/exits', data: ['protocol/none-*.ts'] }, /No file matches protocol/],
    ['evaluate', { exits: 'models/typescript-5m/exits', data: ['protocol/none-*.ts'] }, /No file matches protocol/],
    ['evaluate', { exits: 'none.exits', data: ['protocol/**/*.ts'] }, /none.exits/],
  ] as const)('download nothing for %s with %j', async (name, given, message) => {
    vi.stubEnv('HF_ENDPOINT', 'http://127.0.0.1:9');
    vi.stubEnv('EARLY_EXIT_CACHE', temporaryFolder());
    const running =
      name === 'calibrate'
        ? recipes.calibrate(parseOptions(name, { model: 'owner/name', ...given }), never)
        : recipes.evaluate(parseOptions(name, { model: 'owner/name', ...given }), never);
    await expect(running.next()).rejects.toThrow(message);
  });

  it('ask the hub for a model that is no path, and stop when cancelled', async () => {
    const requests: string[] = [];
    const controller = new AbortController();
    // Takes the request and never answers.
    const hub = createServer((request) => {
      requests.push(request.url ?? '');
      controller.abort();
    });
    await new Promise<void>((resolve) => hub.listen(0, '127.0.0.1', resolve));
    vi.stubEnv('HF_ENDPOINT', `http://127.0.0.1:${(hub.address() as AddressInfo).port}`);
    vi.stubEnv('EARLY_EXIT_CACHE', temporaryFolder());
    const options = parseOptions('generate', { model: 'owner/name', prompt: ['a'] });
    await expect(recipes.generate(options, controller.signal).next()).rejects.toMatchObject({ code: 'cancelled' });
    expect(requests[0]).toMatch(/^\/api\/models\/owner\/name\/revision\/main\b/);
    hub.closeAllConnections();
    hub.close();
  });
});
