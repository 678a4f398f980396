import { describe, expect, it } from 'vitest';
import { findNode } from '../../../extension/node-runtime.ts';

const versions =
  (found: Record<string, string>) =>
  async (command: string): Promise<string | null> =>
    found[command] ?? null;

describe('findNode', () => {
  it('takes the Node that a setting names', async () => {
    const found = await findNode('/n/node', '/editor', versions({ '/n/node': '22.1.0', node: '20.0.0' }));
    expect(found).toEqual({
      command: '/n/node',
      environment: {},
      source: 'setting',
      description: 'Node 22.1.0 (from earlyExit.backend.nodePath)',
    });
  });

  it('refuses one that is none or too old', async () => {
    await expect(findNode('/n/node', '/editor', versions({}))).rejects.toThrow('is /n/node, which is no Node.');
    await expect(findNode('/n/node', '/editor', versions({ '/n/node': '18.2.0' }))).rejects.toThrow(
      'earlyExit.backend.nodePath is Node 18.2.0; the backend needs 20 or newer.',
    );
  });

  it('takes the one on PATH, else the runtime of the editor, and says so', async () => {
    expect(await findNode(null, '/editor', versions({ node: '20.20.2' }))).toMatchObject({
      command: 'node',
      source: 'path',
      description: 'Node 20.20.2 (on PATH)',
    });
    expect(await findNode(null, '/editor', versions({ node: '18.0.0' }))).toEqual({
      command: '/editor',
      environment: { ELECTRON_RUN_AS_NODE: '1' },
      source: 'editor',
      description: "VS Code's own runtime, without WebGPU: Node 18.0.0 on PATH is older than 20",
    });
    expect((await findNode(null, '/editor', versions({}))).description).toContain('there is no Node on PATH');
  });

  it('asks a real Node for its version', async () => {
    expect((await findNode(process.execPath, '/editor')).description).toContain(process.versions.node);
    await expect(findNode('/bin/ls', '/editor')).rejects.toThrow('which is no Node');
  });
});
