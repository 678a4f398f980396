/** Loads the bundled extension against a `vscode` that answers everything, activates it and prints both times in milliseconds. */
import Module, { createRequire } from 'node:module';
import path from 'node:path';

/** Stands for any value, class or function of the editor. */
const anything = new Proxy(function () {}, {
  get: (target, key) => {
    if (key === Symbol.iterator) return function* () {};
    if (key === Symbol.toPrimitive) return () => '';
    // Not a promise, and still a class to extend.
    if (key === 'then') return undefined;
    if (key === 'prototype') return target.prototype;
    return anything;
  },
  set: () => true,
  apply: () => anything,
  construct: (target, args, own) => (own === anything ? anything : Reflect.construct(Object, args, own)),
});

// A bundle copies what a module has and looks up the rest in its prototype.
const editor = new Proxy(
  {},
  { get: (_, key) => key === '__esModule' || anything[key], getPrototypeOf: () => anything },
);

const load = Module._load;
Module._load = (request, ...rest) => (request === 'vscode' ? editor : load(request, ...rest));

const started = performance.now();
const { activate } = createRequire(import.meta.url)(path.resolve(process.argv[2]));
const loaded = performance.now();
activate({
  subscriptions: [],
  extensionPath: path.resolve(process.argv[2], '../..'),
  extensionUri: anything,
  globalState: anything,
  workspaceState: anything,
  secrets: anything,
  extension: anything,
  asAbsolutePath: (file) => file,
});
const activated = performance.now();
console.log(JSON.stringify({ load: loaded - started, activate: activated - loaded }));
process.exit(0);
