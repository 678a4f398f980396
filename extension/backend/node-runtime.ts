/**
 * Finds the Node that runs the backend, and how it is started: the one that the user named, else the one on PATH, else VS Code's own
 * runtime, which has no WebGPU. Knows no `vscode`.
 */
import { accessSync, constants, statSync } from 'node:fs';
import path from 'node:path';
import { execa } from 'execa';
import { userError } from '../../protocol/errors.ts';
import { largePages } from '../../protocol/large-pages.ts';
import { childEnvironment, findProgram, type Machine } from '../../protocol/programs.ts';

export interface NodeRuntime {
  /** An absolute path. */
  readonly command: string;
  readonly environment: Readonly<Record<string, string>>;
  /** `setting`, `path`, or `editor` if there is no other. */
  readonly source: 'setting' | 'path' | 'editor';
  /** For the status and the log, such as `Node 20.20.2 (on PATH)`. */
  readonly description: string;
}

const MINIMUM_NODE = 20;
/** A Node that does not print its version within this time is not used. */
const VERSION_MILLISECONDS = 10_000;

/** Runs a Node for its version; null if it is none. */
export type ReadVersion = (command: string) => Promise<string | null>;

/** Throws a UserError if the Node of the setting is none, or too old. */
export async function findNode(
  setting: string | null,
  editor: string,
  machine: Machine = thisMachine,
  readVersion: ReadVersion = askVersion,
): Promise<NodeRuntime> {
  const command = findProgram(setting ?? 'node', machine);
  const version = command === null ? null : await readVersion(command);
  if (command !== null && version !== null && isNewEnough(version))
    return runtime(command, setting === null ? 'path' : 'setting', version);
  if (setting !== null) {
    throw userError(
      'bad-config',
      version === null
        ? `earlyExit.backend.nodePath is ${setting}, which is no Node.`
        : `earlyExit.backend.nodePath is Node ${version}; the backend needs ${MINIMUM_NODE} or newer.`,
      `Name a Node of version ${MINIMUM_NODE} or newer by its absolute path, or clear the setting.`,
    );
  }
  const why = version === null ? 'there is no Node on PATH' : `Node ${version} on PATH is older than ${MINIMUM_NODE}`;
  return {
    command: editor,
    environment: { ELECTRON_RUN_AS_NODE: '1' },
    source: 'editor',
    description: `VS Code's own runtime, without WebGPU: ${why}`,
  };
}

/**
 * How a Node is started: a folder that the user looks at is never its working directory. `folder`: that of the extension; `proxy`: VS Code's
 * own (`http.proxy`), which the environment's goes before.
 */
export const startOptions = (
  folder: string,
  { platform, environment }: Pick<Machine, 'platform' | 'environment'> = thisMachine,
  proxy = '',
): { readonly cwd: string; readonly env: Record<string, string> } => ({
  cwd: folder,
  env: {
    ...(proxy !== '' && { HTTPS_PROXY: environment['HTTPS_PROXY'] ?? environment['https_proxy'] ?? proxy }),
    NODE_USE_ENV_PROXY: environment['NODE_USE_ENV_PROXY'] ?? '1',
    ...largePages(environment, platform),
    ...childEnvironment(platform),
  },
});

const thisMachine: Machine = { platform: process.platform, environment: process.env, isProgram };

function isProgram(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return statSync(file).isFile();
  } catch {
    return false;
  }
}

const runtime = (command: string, source: 'setting' | 'path', version: string): NodeRuntime => ({
  command,
  environment: {},
  source,
  description: `Node ${version} (${source === 'path' ? 'on PATH' : 'from earlyExit.backend.nodePath'})`,
});

const isNewEnough = (version: string): boolean => Number(version.split('.')[0]) >= MINIMUM_NODE;

async function askVersion(command: string): Promise<string | null> {
  const { stdout, failed } = await execa(command, ['-p', 'process.versions.node'], {
    cwd: path.dirname(command),
    env: childEnvironment(process.platform),
    reject: false,
    timeout: VERSION_MILLISECONDS,
    stdin: 'ignore',
  });
  return !failed && /^\d+\.\d+\.\d+/.test(stdout) ? stdout.trim() : null;
}
