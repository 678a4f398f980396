/** Jobs of a Ray cluster over its REST interface. A token, where the cluster wants one, comes from the environment, never from an option. */
import { userError } from '../../protocol/errors.ts';
import type { RunningJob } from './follow.ts';
import { packageName } from './job.ts';

/** The token of a cluster that asks for one. */
export const tokenVariable = 'RAY_AUTH_TOKEN';

/** How long a rank has to keep its work once the job is stopped. */
const stopSeconds = 600;

interface JobInfo {
  readonly status: 'PENDING' | 'RUNNING' | 'STOPPED' | 'SUCCEEDED' | 'FAILED';
  readonly message: string | null;
}

/**
 * Submits the job of a folder that all nodes see under the same path; answers its id.
 * @throws UserError `network` where the cluster does not answer or refuses.
 */
export async function submitRayJob(url: string, folder: string, ranks: number): Promise<string> {
  const quotedFolder = `'${folder.replaceAll("'", `'\\''`)}'`;
  const answer = await ask(url, 'POST', '/api/jobs/', {
    entrypoint: `python -m ${packageName}.on_ray ${quotedFolder} ${ranks}`,
    runtime_env: { env_vars: { PYTHONPATH: folder, RAY_JOB_STOP_WAIT_TIME_S: String(stopSeconds) } },
    metadata: { name: 'early-exit' },
  });
  const { submission_id: id } = answer as { submission_id?: unknown };
  if (typeof id !== 'string') throw userError('network', `${url} is no Ray cluster: it gave the job no id.`);
  return id;
}

export function rayJob(url: string, id: string): RunningJob {
  return {
    lines: async () => {
      const { logs } = (await ask(url, 'GET', `/api/jobs/${encodeURIComponent(id)}/logs`)) as { logs?: unknown };
      return typeof logs === 'string' ? logs : '';
    },
    ended: async () => {
      const { status, message } = (await ask(url, 'GET', `/api/jobs/${encodeURIComponent(id)}`)) as JobInfo;
      if (status === 'PENDING' || status === 'RUNNING') return null;
      return `The Ray job ${id} ${status === 'STOPPED' ? 'was stopped' : 'ended'} before its run did${message ? `: ${message.trim().split('\n')[0]}` : ''}.`;
    },
  };
}

export async function stopRayJob(url: string, id: string): Promise<void> {
  await ask(url, 'POST', `/api/jobs/${encodeURIComponent(id)}/stop`);
}

async function ask(url: string, method: 'GET' | 'POST', route: string, body?: unknown): Promise<unknown> {
  const token = process.env[tokenVariable];
  let response: Response;
  try {
    response = await fetch(`${url}${route}`, {
      method,
      headers: {
        ...(body === undefined ? {} : { 'Content-Type': 'application/json' }),
        ...(token ? { Authorization: `Bearer ${token}` } : {}),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      redirect: 'error',
      signal: AbortSignal.timeout(30_000),
    });
  } catch (cause) {
    throw userError(
      'network',
      `The Ray cluster at ${url} does not answer.`,
      'Check the address in --on ray:URL.',
      cause,
    );
  }
  if (response.status === 401 || response.status === 403)
    throw userError('network', `The Ray cluster at ${url} wants a token.`, `Put it into ${tokenVariable}.`);
  if (!response.ok) throw userError('network', `The Ray cluster at ${url} refused: ${response.status}.`);
  try {
    return await response.json();
  } catch (cause) {
    throw userError('network', `What ${url} answers is not Ray's.`, 'Check the address in --on ray:URL.', cause);
  }
}
