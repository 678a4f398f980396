/** Access: the host that was requested, the origin of the page, and the key. Pure functions of a request's headers. */
import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import { isIPv4 } from 'node:net';
import type { Sender } from '../../../protocol/serving.ts';
import { refusal, type Refusal } from './failures.ts';

export interface Guards {
  /** Empty: no key is needed. */
  readonly keys: readonly string[];
  /** Pages that may ask, beside the server's own; `*` for all. */
  readonly origins: readonly string[];
  /** Whether the server listens only on this machine; requests must then name this machine as their host. */
  readonly loopback: boolean;
}

/** An address or a name that only this machine reaches. Names may be written in capitals and end with the root's dot (RFC 1034, 3.1). */
export function isLoopback(host: string): boolean {
  const name = host.toLowerCase().replace(/\.$/, '');
  return name === 'localhost' || host === '::1' || host === '[::1]' || (isIPv4(host) && host.startsWith('127.'));
}

/** Why a request is not answered; null if it is. `isOpen`: it needs no key. */
export function refusalOf(headers: IncomingHttpHeaders, guards: Guards, isOpen: boolean): Refusal | null {
  if (guards.loopback && !isLoopback(nameOf(headers.host ?? '')))
    // A page that has its name lead here would pass for one of this machine (DNS rebinding).
    return refusal(403, 'host_not_allowed', `This server has no address ${shownHeader(headers.host)}.`);
  if (!mayAsk(headers, guards))
    return refusal(403, 'origin_not_allowed', `Pages of ${shownHeader(headers.origin)} may not ask: see --origins.`);
  if (guards.keys.length === 0 || isOpen || placeOfKey(headers, guards.keys) >= 0) return null;
  return refusal(401, 'invalid_api_key', 'The key is missing or wrong: give it as Authorization: Bearer KEY.');
}

/** The client of a request: by its key if there are several keys (a single key identifies no one), else by its address. */
export function senderOf(headers: IncomingHttpHeaders, address: string, { keys }: Guards): Sender {
  const key = keys.length === 0 ? '' : String(placeOfKey(headers, keys));
  return { client: keys.length > 1 ? `key ${key}` : address, key };
}

/** The CORS headers for a page that may ask; empty if the request comes from no page. */
export function originHeaders(headers: IncomingHttpHeaders): Readonly<Record<string, string>> {
  if (headers.origin === undefined) return {};
  return {
    'access-control-allow-origin': headers.origin,
    // Other headers of clients are ignored.
    'access-control-allow-headers': headers['access-control-request-headers'] ?? usualHeaders,
    'access-control-allow-methods': 'GET, POST, OPTIONS',
    vary: 'origin, access-control-request-headers',
  };
}

const usualHeaders = 'authorization, content-type, x-api-key';

function mayAsk({ origin, host }: IncomingHttpHeaders, { origins }: Guards): boolean {
  if (origin === undefined || origins.includes('*') || origins.includes(origin)) return true;
  return host !== undefined && origin === `http://${host}`;
}

/** Its index among the keys; −1 if none of them was given. */
function placeOfKey({ authorization = '', ...headers }: IncomingHttpHeaders, keys: readonly string[]): number {
  const given = /^Bearer (.+)$/i.exec(authorization)?.[1] ?? headers['x-api-key'];
  if (typeof given !== 'string') return -1;
  // Hashes have one length, and all are compared, so that the time reveals nothing about a key.
  const hash = (text: string): Buffer => createHash('sha256').update(text).digest();
  return keys.map((key) => timingSafeEqual(hash(given), hash(key))).indexOf(true);
}

/** A host header without its port. */
const nameOf = (host: string): string => host.replace(/:\d+$/, '');

const shownHeader = (value: string | undefined): string => (value ?? 'none').slice(0, 100);
