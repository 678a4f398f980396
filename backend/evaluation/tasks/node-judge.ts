/**
 * Runs unchecked JavaScript: under Node's permissions, which allow only its own folder and no process, and with nothing in the modules of the
 * network. Input and output are those of python-judge.ts. A program that ends the process itself has not passed.
 */
export const nodeJudge = String.raw`
'use strict';
const fs = require('node:fs');
const Module = require('node:module');
const net = require('node:net');
const path = require('node:path');
const { Readable, Writable } = require('node:stream');
const { program, secret } = JSON.parse(fs.readFileSync(0, 'utf8'));
const say = fs.writeSync, end = process.reallyExit.bind(process);
const forbidden = function () { say(1, 'forbidden'); end(3); };
// Those modules cannot be kept from a program, which has require, import and more, but their functions can. All of http and tls go through net.
net.Socket.prototype.connect = net.Server.prototype.listen = forbidden;
const closed = ['net', 'dgram', 'dns', 'dns/promises', 'inspector', 'inspector/promises', 'wasi'];
for (const functions of closed.filter((name) => Module.builtinModules.includes(name)).map((name) => require(name)))
  for (const [name, { value, writable }] of Object.entries(Object.getOwnPropertyDescriptors(functions)))
    if (writable && typeof value === 'function') functions[name] = forbidden;
for (const name of ['fetch', 'WebSocket', 'EventSource']) Object.defineProperty(globalThis, name, { get: forbidden });
for (const name of ['binding', '_linkedBinding', 'dlopen', 'kill', '_kill', '_debugProcess']) process[name] = forbidden;
// What a program prints is no answer of its judge. Streams of its own: Node's would be sockets.
const silent = new Writable({ write: (_piece, _encoding, done) => done() });
for (const name of ['stdout', 'stderr']) Object.defineProperty(process, name, { value: silent });
Object.defineProperty(process, 'stdin', { value: Readable.from([]) });
say(1, 'begun ');
const fail = (error) => { say(1, error && error.code === 'ERR_ACCESS_DENIED' ? 'forbidden' : 'failed'); end(1); };
process.on('uncaughtException', fail);
process.on('exit', () => { say(1, 'failed'); end(1); });
process.on('unhandledRejection', fail);
// Emitted when nothing is left to do, but not if the program ends the process.
process.on('beforeExit', () => { say(1, secret); end(0); });
const answer = new Module(path.join(process.cwd(), 'answer.cjs'));
answer.filename = path.join(process.cwd(), 'answer.cjs');
answer.paths = [];
answer._compile(program, answer.filename);
`;
