/** What a user is told whose proxy Node does not use. */

const variables = ['HTTPS_PROXY', 'https_proxy', 'HTTP_PROXY', 'http_proxy'];

/** A way out for downloads that fail; null if no proxy is set, or Node uses it. `flags`: those that Node knows. */
export function proxyWayOut(
  environment: Readonly<Record<string, string | undefined>> = process.env,
  flags: ReadonlySet<string> = process.allowedNodeEnvironmentFlags,
): string | null {
  const set = variables.find((name) => environment[name]);
  const canUse = flags.has('--use-env-proxy');
  if (set === undefined || (canUse && environment['NODE_USE_ENV_PROXY'] === '1')) return null;
  return canUse
    ? `Node uses the proxy that ${set} names only with NODE_USE_ENV_PROXY=1: set it, and run the command again.`
    : `This Node does not use the proxy that ${set} names: run the command with Node 22.21, 24 or later, and with NODE_USE_ENV_PROXY=1.`;
}
