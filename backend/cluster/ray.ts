/**
 * Ray's interface over HTTP: jobs and their packages. If the cluster needs a token, it comes from the environment, never from an option.
 */
import { createHash, randomBytes } from 'node:crypto';
import * as http from 'node:http';
import * as https from 'node:https';
import { UserError, userError } from '../../protocol/errors.ts';
import { nothing, nullable, oneOf, readMessage, record, text, type Shape, type TypeOf } from '../../protocol/shapes.ts';
import { shown } from '../../protocol/shown.ts';
import { quoted } from '../../protocol/shell-word.ts';

/** The token for a cluster that needs one. */
const tokenVariable = 'RAY_AUTH_TOKEN';

/** How long a rank has to keep its work once the job is stopped. */
const stopSeconds = 600;
const timeoutMilliseconds = 30_000;
/** A package may take its time on a slow line. */
const sendMilliseconds = 30 * 60_000;
/** Most bytes that are read of a job's output. */
const largestAnswer = 2 ** 20;

/** What a job runs in: files that come with it, as names of packages that were sent. */
export interface RuntimeEnvironment {
  readonly working_dir?: string;
  readonly env_vars?: Readonly<Record<string, string>>;
}

/** The fields of Ray's description of a job that are used here. */
const jobShape = record(
  { status: oneOf('PENDING', 'RUNNING', 'STOPPED', 'SUCCEEDED', 'FAILED') },
  { message: nullable(text) },
);
const submittedShape = record({ submission_id: text });

/** Of a job that is submitted here: it is known before the cluster has answered. */
export const newRayJobId = (): string => `early-exit-${randomBytes(8).toString('hex')}`;

/**
 * Submits a job. The words of its command are quoted, so that the job's shell leaves them as they are.
 * @throws UserError `network` if the cluster does not answer or refuses.
 */
export async function submitRayJob(
  url: string,
  id: string,
  module: string,
  words: readonly string[],
  environment: RuntimeEnvironment,
): Promise<void> {
  await ask(url, submittedShape, 'POST', '/api/jobs/', {
    submission_id: id,
    entrypoint: ['python', '-m', module, ...words.map(quoted)].join(' '),
    runtime_env: {
      ...environment,
      env_vars: { ...environment.env_vars, RAY_JOB_STOP_WAIT_TIME_S: String(stopSeconds) },
    },
    metadata: { name: 'early-exit' },
  });
}

/** Null while the job runs; else how it ended, as a sentence; `before` says what it had to do. */
export async function rayJobEnd(url: string, id: string, before = 'its run did'): Promise<string | null> {
  const info = await rayJob(url, id);
  if (info === null) return `The Ray cluster at ${url} does not know the job ${id} any more.`;
  const { status, message } = info;
  if (status === 'PENDING' || status === 'RUNNING') return null;
  const reason = message ? `: ${(lastError(message) ?? message.trim().split('\n')[0]!).slice(0, 300)}` : '';
  return `The Ray job ${id} ${status === 'STOPPED' ? 'was stopped' : 'ended'} before ${before}${reason}.`;
}

/** @throws UserError `network` if the cluster does not answer, or refuses to say. */
export const hasRayJob = async (url: string, id: string): Promise<boolean> => (await rayJob(url, id)) !== null;

/** Null if the cluster has no such job. */
async function rayJob(url: string, id: string): Promise<TypeOf<typeof jobShape> | null> {
  try {
    return await ask(url, jobShape, 'GET', jobRoute(id));
  } catch (error) {
    if (isAbsent(error)) return null;
    throw error;
  }
}

const jobRoute = (id: string): string => `/api/jobs/${encodeURIComponent(id)}`;

/** Whether the cluster answers that it has no such job. */
const isAbsent = (error: unknown): boolean => error instanceof UserError && error.code === 'not-found';

/** What Python raised at last, of a message that quotes the log. */
const lastError = (message: string): string | undefined =>
  message
    .split('\n')
    .filter((line) => /^[\w.]*(Error|Exception): /.test(line))
    .at(-1)
    ?.replace(/\.$/, '');

export async function stopRayJob(url: string, id: string): Promise<void> {
  await ask(url, nothing, 'POST', `${jobRoute(id)}/stop`);
}

/** The beginning of the job's own output, which has what is searched for here. */
export async function rayJobLog(url: string, id: string): Promise<string> {
  const { text } = check(url, await answerOf(url, 'GET', `${jobRoute(id)}/logs`, null, timeoutMilliseconds, true));
  // JSON of one text, which may be cut.
  return text.replaceAll('\\n', '\n').replaceAll('\\"', '"');
}

/**
 * Sends a package, unless the cluster has it; returns the name under which jobs use it. Ray deletes packages that no job names within ten
 * minutes. @throws UserError as above.
 */
export async function sendRayPackage(url: string, bytes: Buffer): Promise<string> {
  const name = `_ray_pkg_${createHash('sha256').update(bytes).digest('hex').slice(0, 40)}.zip`;
  const route = `/api/packages/gcs/${name}`;
  const { status } = await answerOf(url, 'GET', route, null, timeoutMilliseconds);
  if (status === 404) check(url, await answerOf(url, 'PUT', route, bytes, sendMilliseconds));
  else if (status !== 200) check(url, { status, text: '' });
  return `gcs://${name}`;
}

async function ask<T>(url: string, shape: Shape<T>, method: 'GET' | 'POST', route: string, body?: unknown): Promise<T> {
  const bytes = body === undefined ? null : Buffer.from(JSON.stringify(body));
  const answer = check(url, await answerOf(url, method, route, bytes, timeoutMilliseconds));
  try {
    return readMessage(route, shape, JSON.parse(answer.text));
  } catch (cause) {
    throw userError('network', `What ${url} answers is not Ray's.`, 'Check the address in --on ray:URL.', cause);
  }
}

interface Answer {
  readonly status: number;
  readonly text: string;
}

function check(url: string, answer: Answer): Answer {
  const { status, text } = answer;
  if (status === 404) throw userError('not-found', `The Ray cluster at ${url} has nothing of this name.`);
  if (status === 401 || status === 403)
    throw userError('network', `The Ray cluster at ${url} wants a token.`, `Put it into ${tokenVariable}.`);
  if (status === 200) return answer;
  // The last line of a Python traceback, which names the error.
  const reason = shown(text.trim().split('\n').at(-1) ?? '', { limit: 200 }).replace(/\.$/, '');
  throw userError('network', `The Ray cluster at ${url} refused: HTTP ${status}${reason && `, ${reason}`}.`);
}

async function answerOf(
  url: string,
  method: string,
  route: string,
  body: Buffer | null,
  milliseconds: number,
  isCut = false,
): Promise<Answer> {
  try {
    const response = await respond(url, method, route, body, AbortSignal.timeout(milliseconds));
    const pieces: Buffer[] = [];
    let bytes = 0;
    for await (const piece of response) {
      bytes += (piece as Buffer).length;
      pieces.push(piece as Buffer);
      if (bytes <= largestAnswer) continue;
      if (isCut) break;
      throw new Error('the answer is too large');
    }
    return { status: response.statusCode ?? 0, text: Buffer.concat(pieces).toString() };
  } catch (cause) {
    throw silent(url, cause);
  }
}

const silent = (url: string, cause: unknown): Error =>
  cause instanceof UserError
    ? cause
    : userError('network', `The Ray cluster at ${url} does not answer.`, 'Check the address in --on ray:URL.', cause);

/** Not `fetch`: Ray takes its headers for a browser's, from which it accepts nothing. */
function respond(
  url: string,
  method: string,
  route: string,
  body: Buffer | null,
  signal: AbortSignal,
): Promise<http.IncomingMessage> {
  const token = process.env[tokenVariable];
  const kind = method === 'PUT' ? 'application/octet-stream' : 'application/json';
  const headers = {
    ...(body === null ? {} : { 'Content-Type': kind, 'Content-Length': body.length }),
    ...(token ? { Authorization: `Bearer ${token}` } : {}),
  };
  return new Promise((resolve, reject) => {
    const send = url.startsWith('https:') ? https.request : http.request;
    const sent = send(`${url}${route}`, { method, headers, signal }, resolve);
    sent.on('error', reject);
    sent.end(body ?? undefined);
  });
}
