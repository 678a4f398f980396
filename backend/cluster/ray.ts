/** Jobs of a Ray cluster over its REST interface. A token, where the cluster wants one, comes from the environment, never from an option. */
import * as http from 'node:http';
import * as https from 'node:https';
import { userError } from '../../protocol/errors.ts';
import { packageName } from './job.ts';

/** The token of a cluster that asks for one. */
export const tokenVariable = 'RAY_AUTH_TOKEN';

/** How long a rank has to keep its work once the job is stopped. */
const stopSeconds = 600;
const timeoutMilliseconds = 30_000;
/** Bytes: of a job's description more than enough. */
const largestAnswer = 2 ** 20;

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

/** Null while the job runs; else how it ended. */
export async function rayJobEnd(url: string, id: string): Promise<string | null> {
  const { status, message } = (await ask(url, 'GET', `/api/jobs/${encodeURIComponent(id)}`)) as JobInfo;
  if (status === 'PENDING' || status === 'RUNNING') return null;
  const reason = message ? `: ${message.trim().split('\n')[0]}` : '';
  return `The Ray job ${id} ${status === 'STOPPED' ? 'was stopped' : 'ended'} before its run did${reason}.`;
}

export async function stopRayJob(url: string, id: string): Promise<void> {
  await ask(url, 'POST', `/api/jobs/${encodeURIComponent(id)}/stop`);
}

async function ask(url: string, method: 'GET' | 'POST', route: string, body?: unknown): Promise<unknown> {
  let answer: Answer;
  try {
    answer = await request(`${url}${route}`, method, body === undefined ? null : JSON.stringify(body));
  } catch (cause) {
    throw userError(
      'network',
      `The Ray cluster at ${url} does not answer.`,
      'Check the address in --on ray:URL.',
      cause,
    );
  }
  const { status, text } = answer;
  if (status === 401 || status === 403)
    throw userError('network', `The Ray cluster at ${url} wants a token.`, `Put it into ${tokenVariable}.`);
  if (status !== 200) throw userError('network', `The Ray cluster at ${url} refused: HTTP ${status}.`);
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw userError('network', `What ${url} answers is not Ray's.`, 'Check the address in --on ray:URL.', cause);
  }
}

interface Answer {
  readonly status: number;
  readonly text: string;
}

/** Not `fetch`: Ray takes its headers for a browser's, from which it accepts nothing. */
function request(url: string, method: string, body: string | null): Promise<Answer> {
  const token = process.env[tokenVariable];
  const headers = {
    ...(body === null ? {} : { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(body) }),
    ...(token ? { Authorization: `Bearer ${token}` } : {}),
  };
  return new Promise((resolve, reject) => {
    const send = url.startsWith('https:') ? https.request : http.request;
    const sent = send(url, { method, headers, signal: AbortSignal.timeout(timeoutMilliseconds) }, (response) => {
      const pieces: Buffer[] = [];
      let bytes = 0;
      response.on('data', (piece: Buffer) => {
        bytes += piece.length;
        if (bytes > largestAnswer) sent.destroy(new Error('the answer is too large'));
        else pieces.push(piece);
      });
      response.on('end', () => resolve({ status: response.statusCode ?? 0, text: Buffer.concat(pieces).toString() }));
      response.on('error', reject);
    });
    sent.on('error', reject);
    sent.end(body ?? undefined);
  });
}
