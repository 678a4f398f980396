/**
 * Runs unchecked JavaScript: under Node's permissions, which allow only its own folder and no process, and without the modules of the
 * network. Input and output are those of python-judge.ts. A program that ends the process itself has not passed.
 */
export const nodeJudge = String.raw`
'use strict';
const fs = require('node:fs');
const Module = require('node:module');
const path = require('node:path');
const { program, secret, seconds } = JSON.parse(fs.readFileSync(0, 'utf8'));
const closed = new Set(['net', 'tls', 'dgram', 'dns', 'dns/promises', 'http', 'https', 'http2', 'child_process', 'cluster', 'worker_threads', 'inspector']);
const say = fs.writeSync, end = process.reallyExit.bind(process);
const load = Module._load;
Module._load = function (name, ...rest) {
  if (closed.has(String(name).replace(/^node:/, ''))) { say(1, 'forbidden'); end(3); }
  return load.call(this, name, ...rest);
};
for (const name of ['fetch', 'WebSocket', 'EventSource'])
  Object.defineProperty(globalThis, name, { get() { say(1, 'forbidden'); end(3); } });
process.binding = process.dlopen = () => { say(1, 'forbidden'); end(3); };
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
