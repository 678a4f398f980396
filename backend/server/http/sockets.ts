/**
 * Limits the number of sockets. If there are too many, the one that has been idle longest is closed: a client that opens many and sends
 * nothing keeps no other client out.
 */
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

export interface SocketLimits {
  readonly most: number;
  readonly ofAddress: number;
}

interface OpenSocket {
  readonly address: string;
  /** Requests whose headers have arrived and that are not answered. */
  requests: number;
}

export function limitSockets(server: Server, { most, ofAddress }: SocketLimits): void {
  /** Those that became idle last are last. */
  const open = new Map<Socket, OpenSocket>();

  const makeRoom = (of: (each: OpenSocket) => boolean, limit: number): void => {
    const counted = [...open].filter(([, each]) => of(each));
    if (counted.length <= limit) return;
    // The newest is the last: it is closed if all others are busy.
    const [socket] = counted.find(([, { requests }]) => requests === 0)!;
    open.delete(socket);
    socket.destroy();
  };

  server.on('connection', (socket: Socket) => {
    const address = socket.remoteAddress ?? '';
    open.set(socket, { address, requests: 0 });
    socket.once('close', () => open.delete(socket));
    makeRoom((each) => each.address === address, ofAddress);
    makeRoom(() => true, most);
  });
  server.on('request', ({ socket }: IncomingMessage, response: ServerResponse) => {
    const one = open.get(socket);
    if (one === undefined) return;
    one.requests++;
    response.once('close', () => {
      one.requests--;
      if (!open.delete(socket)) return;
      open.set(socket, one);
    });
  });
}
