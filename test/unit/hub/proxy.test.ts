/** What is said of a proxy that Node does not use. */
import { expect, test } from 'vitest';
import { proxyWayOut } from '../../../backend/hub/proxy.ts';

const able = new Set(['--use-env-proxy']);
const proxy = { https_proxy: 'http://proxy:3128' };

test.each([
  [{}, able, null],
  [{ HTTPS_PROXY: '' }, able, null],
  [{ ...proxy, NODE_USE_ENV_PROXY: '1' }, able, null],
  [proxy, able, /https_proxy names only with NODE_USE_ENV_PROXY=1/],
  [{ ...proxy, NODE_USE_ENV_PROXY: '1' }, new Set<string>(), /This Node does not use the proxy that https_proxy names/],
])('of %j', (environment, flags, expected) => {
  const said = proxyWayOut(environment, flags);
  if (expected === null) expect(said).toBeNull();
  else expect(said).toMatch(expected);
});
