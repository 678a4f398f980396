import { describe, expect, it } from 'vitest';
import { findNode, startOptions } from '../../../../extension/backend/node-runtime.ts';
import type { Machine } from '../../../../protocol/programs.ts';

const versions =
  (found: Record<string, string>) =>
  async (command: string): Promise<string | null> =>
    found[command] ?? null;

/** A machine with `/bin` on PATH, with these programs. */
const machine = (...programs: string[]): Machine => ({
  platform: 'linux',
  environment: { PATH: '.:/bin' },
  isProgram: (file) => programs.includes(file),
});

describe('findNode', () => {
  it('takes the Node that a setting names', async () => {
    const found = await findNode('/n/node', '/editor', machine('/n/node'), versions({ '/n/node': '22.1.0' }));
    expect(found).toEqual({
      command: '/n/node',
      environment: {},
      source: 'setting',
      description: 'Node 22.1.0 (from earlyExit.backend.nodePath)',
    });
  });

  it('refuses one that is none or too old', async () => {
    await expect(findNode('/n/node', '/editor', machine('/n/node'), versions({}))).rejects.toThrow(
      'is /n/node, which is no Node.',
    );
    await expect(findNode('/n/node', '/editor', machine('/n/node'), versions({ '/n/node': '18.2.0' }))).rejects.toThrow(
      'earlyExit.backend.nodePath is Node 18.2.0; the backend needs 20 or newer.',
    );
  });

  it('takes the one on PATH, else the runtime of the editor, and says so', async () => {
    expect(await findNode(null, '/editor', machine('/bin/node'), versions({ '/bin/node': '20.20.2' }))).toMatchObject({
      command: '/bin/node',
      source: 'path',
      description: 'Node 20.20.2 (on PATH)',
    });
    expect(await findNode(null, '/editor', machine('/bin/node'), versions({ '/bin/node': '18.0.0' }))).toEqual({
      command: '/editor',
      environment: { ELECTRON_RUN_AS_NODE: '1' },
      source: 'editor',
      description: "VS Code's own runtime, without WebGPU: Node 18.0.0 on PATH is older than 20",
    });
    expect((await findNode(null, '/editor', machine(), versions({}))).description).toContain(
      'there is no Node on PATH',
    );
  });

  it('asks a real Node for its version', async () => {
    expect((await findNode(process.execPath, '/editor')).description).toContain(process.versions.node);
    await expect(findNode('/bin/ls', '/editor')).rejects.toThrow('which is no Node');
  });

  it('starts nothing by a path that depends on where one is', async () => {
    const everything: Machine = { platform: 'linux', environment: { PATH: '.::bin' }, isProgram: () => true };
    const all = async (): Promise<string> => '22.0.0';
    expect(await findNode(null, '/editor', everything, all)).toMatchObject({ command: '/editor', source: 'editor' });
    await expect(findNode('./node', '/editor', everything, all)).rejects.toThrow('is ./node, which is no Node.');
    expect(await findNode('node22', '/editor', { ...everything, environment: { PATH: '/opt' } }, all)).toMatchObject({
      command: '/opt/node22',
    });
  });
});

describe('startOptions', () => {
  it('names a folder of ours to work in, and keeps Windows from looking where it works', () => {
    expect(startOptions('/ours', { platform: 'win32', environment: {} })).toEqual({
      cwd: '/ours',
      env: { NoDefaultCurrentDirectoryInExePath: '1', NODE_USE_ENV_PROXY: '1' },
    });
    expect(startOptions('/ours', { platform: 'linux', environment: {} }).cwd).toBe('/ours');
  });

  it.each([
    [{}, '', {}],
    [{}, 'http://editor:1', { HTTPS_PROXY: 'http://editor:1' }],
    [{ https_proxy: 'http://own:2' }, 'http://editor:1', { HTTPS_PROXY: 'http://own:2' }],
    [{ NODE_USE_ENV_PROXY: '0' }, '', { NODE_USE_ENV_PROXY: '0' }],
  ])('uses a proxy: of the environment %j, and the editor %s', (environment, proxy, env) => {
    const started = startOptions('/ours', { platform: 'darwin', environment }, proxy);
    expect(started.env).toEqual({ NODE_USE_ENV_PROXY: '1', ...env });
  });
});
