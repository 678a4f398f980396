/**
 * Runs unchecked JavaScript: under Node's permissions, which allow only its own folder and no process, and with nothing in the modules of the
 * network. Input and output are those of python-judge.ts. A program that ends the process itself has not passed, nor one whose last expression
 * is a promise that is never fulfilled: that of tests which are asynchronous.
 */
export const nodeJudge = String.raw`
'use strict';
const fs = require('node:fs');
const Module = require('node:module');
const net = require('node:net');
const path = require('node:path');
const vm = require('node:vm');
const { Readable, Writable } = require('node:stream');
const { isPromise } = require('node:util').types;
const { program, secret } = JSON.parse(fs.readFileSync(0, 'utf8'));
// Taken before the program can replace them.
const say = fs.writeSync, end = process.reallyExit.bind(process), later = setImmediate, open = process.getActiveResourcesInfo;
const { apply } = Reflect, { then } = Promise.prototype;
const forbidden = function () { say(1, 'forbidden'); end(3); };
// Those modules cannot be kept from a program, which has require, import and more, but their functions can. All of http and tls go through net.
net.Socket.prototype.connect = net.Server.prototype.listen = forbidden;
const closed = ['net', 'dgram', 'dns', 'dns/promises', 'inspector', 'inspector/promises', 'wasi'];
for (const functions of closed.filter((name) => Module.builtinModules.includes(name)).map((name) => require(name)))
  for (const [name, { value, writable }] of Object.entries(Object.getOwnPropertyDescriptors(functions)))
    if (writable && typeof value === 'function') functions[name] = forbidden;
for (const name of ['fetch', 'WebSocket', 'EventSource']) {
  const set = (value) => Object.defineProperty(globalThis, name, { value, writable: true, configurable: true });
  Object.defineProperty(globalThis, name, { get: forbidden, set, configurable: true });
}
for (const name of ['binding', '_linkedBinding', 'dlopen', 'kill', '_kill', '_debugProcess']) process[name] = forbidden;
// What a program prints is no answer of its judge. Streams of its own: Node's would be sockets.
const silent = new Writable({ write: (_piece, _encoding, done) => done() });
for (const name of ['stdout', 'stderr']) Object.defineProperty(process, name, { value: silent });
Object.defineProperty(process, 'stdin', { value: Readable.from([]) });
say(1, 'begun ');
const endings = new Map([['ERR_ACCESS_DENIED', 'forbidden'], ['ERR_MEMORY_ALLOCATION_FAILED', 'memory'], ['Array buffer allocation failed', 'memory']]);
const fail = (error) => { say(1, error && (endings.get(error.code) || endings.get(error.message)) || 'failed'); end(1); };
process.on('uncaughtException', fail);
process.on('exit', () => { say(1, 'failed'); end(1); });
process.on('unhandledRejection', fail);
let isOver = false;
const over = () => { isOver = true; };
const judge = () => { if (open().length === 0) { say(1, secret); end(0); } };
// Emitted when nothing is left to do, but not if the program ends the process. A program that emits it itself only has the judge look earlier.
process.on('beforeExit', () => { if (isOver) later(judge); });
const answer = new Module(path.join(process.cwd(), 'answer.cjs'));
answer.filename = path.join(process.cwd(), 'answer.cjs');
answer.paths = [];
// A script has a last expression, unlike a module, whose names it gets here; it may declare them anew.
answer._compile('Object.assign(globalThis, { exports, require, module, __filename, __dirname })', answer.filename);
try {
  const importModuleDynamically = vm.constants && vm.constants.USE_MAIN_CONTEXT_DEFAULT_LOADER;
  const last = new vm.Script(program, { filename: answer.filename, importModuleDynamically }).runInThisContext();
  if (isPromise(last)) apply(then, last, [over, fail]);
  else over();
} catch (error) { fail(error); }
`;
