/** Who may ask: the address that was asked, the page that asks, and the key. Pure functions of a request's headers. */
import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import { refusal, type Refusal } from './failures.ts';

export interface Guards {
  /** Without one nobody is asked for any. */
  readonly key: string | null;
  /** Pages that may ask, beside the server's own; `*` for all. */
  readonly origins: readonly string[];
  /** Only this machine is listened to: then its own names alone are asked for. */
  readonly loopback: boolean;
}

/** An address that only this machine reaches. */
export const isLoopback = (host: string): boolean =>
  host === 'localhost' || host === '::1' || host === '[::1]' || /^127\.\d+\.\d+\.\d+$/.test(host);

/** Why a request is not answered; null where it is. `isOpen`: it needs no key. */
export function refusalOf(headers: IncomingHttpHeaders, guards: Guards, isOpen: boolean): Refusal | null {
  if (guards.loopback && !isLoopback(nameOf(headers.host ?? '')))
    // A page that has its name lead here would pass for one of this machine (DNS rebinding).
    return refusal(403, 'host_not_allowed', `This server is not asked as ${shownHeader(headers.host)}.`);
  if (!mayAsk(headers, guards))
    return refusal(403, 'origin_not_allowed', `Pages of ${shownHeader(headers.origin)} may not ask: see --origins.`);
  if (guards.key === null || isOpen || hasKey(headers, guards.key)) return null;
  return refusal(401, 'invalid_api_key', 'The key is missing or wrong: give it as Authorization: Bearer KEY.');
}

/** What a browser is told of a page that may ask; nothing where no page does. */
export function originHeaders(headers: IncomingHttpHeaders): Readonly<Record<string, string>> {
  if (headers.origin === undefined) return {};
  return {
    'access-control-allow-origin': headers.origin,
    // Clients have headers of their own, which say nothing here.
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

function hasKey({ authorization = '', ...headers }: IncomingHttpHeaders, key: string): boolean {
  const given = /^Bearer (.+)$/i.exec(authorization)?.[1] ?? headers['x-api-key'];
  // Hashes have one length, so comparing them tells nothing of the key.
  const hash = (text: string): Buffer => createHash('sha256').update(text).digest();
  return typeof given === 'string' && timingSafeEqual(hash(given), hash(key));
}

/** A host header without its port. */
const nameOf = (host: string): string => host.replace(/:\d+$/, '');

const shownHeader = (value: string | undefined): string => (value ?? 'nobody').slice(0, 100);
