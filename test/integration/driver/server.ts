/**
 * A real VS Code server, all of it from the npm registry: the build inside the `code-server` package, started directly
 * because code-server's own command line has no test options. Knows no tests.
 */
import { execFile, spawn } from 'node:child_process';
import { existsSync, rmSync, type WriteStream } from 'node:fs';
import { mkdir, mkdtemp, rename, rm, symlink, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';

/** Versions of code-server, which are those of VS Code less its first digit, and the Node that runs them: null for the one here. */
export const releases = {
  /** The last one for Node 20, and the oldest VS Code that the extension says it needs. */
  oldest: { codeServer: '4.100.3', node: null },
  /** With what the older one lacks, such as chat models of extensions. */
  newest: { codeServer: '4.139.1', node: '24.21.0' },
} as const;
export type Release = keyof typeof releases;
/** Ships its binary in npm; the version that the server names downloads it from elsewhere. */
const RIPGREP_VERSION = '1.18.0';
export const HOST = '127.0.0.1';

export interface Server {
  readonly port: number;
  readonly pid: number;
  installExtension(vsix: string): Promise<void>;
  stop(): Promise<void>;
}

/** A build of VS Code, and the Node that runs it. */
export interface Installed {
  readonly vscode: string;
  readonly node: string;
}

/** A release below `cache`; installs it on first use. */
export async function ensureServer(cache: string, release: Release): Promise<Installed> {
  const { codeServer, node } = releases[release];
  const root = path.join(cache, `code-server-${codeServer}`);
  const platform = `${process.platform}-${process.arch}`;
  const vscodeIn = (base: string): string => path.join(base, 'node_modules/code-server/lib/vscode');
  const own = path.join(root, `node_modules/node-${platform}/bin/node`);
  const installed = { vscode: vscodeIn(root), node: node === null ? process.execPath : own };
  if (existsSync(root)) return installed;

  console.log(`Installing VS Code server ${codeServer} …`);
  await mkdir(cache, { recursive: true });
  const partial = await mkdtemp(`${root}.partial-`);
  const vscode = vscodeIn(partial);
  const npm = (cwd: string, ...args: string[]): Promise<unknown> =>
    promisify(execFile)('npm', [...args, '--no-audit', '--no-fund'], { cwd, maxBuffer: 2 ** 26 });
  try {
    await writeFile(path.join(partial, 'package.json'), '{"private":true}');
    const packages = [`code-server@${codeServer}`, `@vscode/ripgrep@${RIPGREP_VERSION}`];
    if (node !== null) packages.push(`node-${platform}@${node}`);
    // Scripts would compile native modules, which only terminals need.
    await npm(partial, 'install', '--ignore-scripts', ...packages);
    await npm(vscode, 'install', '--ignore-scripts', '--omit=dev');
    await symlink('node_modules', path.join(vscode, 'node_modules.asar'));
    const ripgrep = path.join(vscode, 'node_modules/@vscode/ripgrep');
    const binaries = path.join(partial, `node_modules/@vscode/ripgrep-${platform}/bin`);
    if (existsSync(ripgrep)) await symlink(path.relative(ripgrep, binaries), path.join(ripgrep, 'bin'));
    // One waits for a sign-in, and tests would wait for it; the other reads the whole workspace in two processes of its own, with the only
    // package that extensions share.
    for (const each of ['copilot', 'typescript-language-features'])
      await rm(path.join(vscode, 'extensions', each), { recursive: true, force: true });
    await rename(partial, root);
  } catch (error) {
    await rm(partial, { recursive: true, force: true });
    throw error;
  }
  return installed;
}

/** Starts the server on a free port in a process group of its own, which dies with this process. */
export async function startServer(
  { vscode, node }: Installed,
  settings: Record<string, unknown>,
  log: WriteStream,
  environment: Record<string, string>,
): Promise<Server> {
  const data = await mkdtemp(path.join(os.tmpdir(), 'vscode-server-'));
  const userData = path.join(data, 'data/User');
  const extensions = path.join(data, 'extensions');
  await mkdir(userData, { recursive: true });
  await writeFile(path.join(userData, 'settings.json'), JSON.stringify(settings, null, 2));
  const main = path.join(vscode, 'out/server-main.js');
  const folders = ['--server-data-dir', data, '--extensions-dir', extensions];
  const env = { ...process.env, TMPDIR: data, EXTENSIONS_GALLERY: '{}', ...environment };

  // Newer ones take extensions from source, and tests of them, from who says that this is a test.
  const open = ['--without-connection-token', '--accept-server-license-terms', '--enable-smoke-test-driver'];
  const flags = ['--host', HOST, '--port', '0', ...open];
  const child = spawn(node, [main, ...flags, '--telemetry-level', 'off', ...folders], {
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
    env,
  });
  const kill = (): void => {
    try {
      process.kill(-child.pid!, 'SIGKILL');
    } catch {
      // It has ended already.
    }
    rmSync(data, { recursive: true, force: true, maxRetries: 5 });
  };
  process.once('exit', kill);
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));

  let output = '';
  const port = await new Promise<number>((resolve, reject) => {
    const read = (chunk: Buffer): void => {
      log.write(chunk);
      output += chunk.toString();
      const listening = /Extension host agent listening on (\d+)/.exec(output);
      if (listening) resolve(Number(listening[1]));
    };
    child.stdout.on('data', read);
    child.stderr.on('data', read);
    child.once('error', reject);
    child.once('exit', (code) => reject(new Error(`The VS Code server ended with code ${code}:\n${output}`)));
  });

  return {
    port,
    pid: child.pid!,
    installExtension: async (vsix) => {
      await promisify(execFile)(node, [main, '--install-extension', vsix, ...folders], { env });
    },
    stop: async () => {
      process.removeListener('exit', kill);
      try {
        process.kill(-child.pid!, 'SIGTERM');
        await Promise.race([ended, new Promise((resolve) => setTimeout(resolve, 5000))]);
      } finally {
        kill();
      }
    },
  };
}
