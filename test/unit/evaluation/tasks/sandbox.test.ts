/** Unchecked code: what is good passes, and what is hostile is ended, counted wrong and leaves nothing. */
import { existsSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, expect, test } from 'vitest';
import { openSandbox, type Language, type Sandbox } from '../../../../backend/evaluation/tasks/sandbox.ts';

/** A file of the user's. */
const own = fileURLToPath(import.meta.url);
const escaped = join(tmpdir(), `escaped-${process.pid}`);
const limits = { seconds: 1, wallSeconds: 30, bytes: 2 ** 29, fileBytes: 2 ** 16 };
const judges = (): string[] => readdirSync(tmpdir()).filter((name) => name.startsWith('early-exit-judge-'));
const before = judges();
const languages = new Set<Language>(['python', 'javascript']);
const sandboxes: Promise<Sandbox>[] = [];
const opened = (other: Partial<typeof limits>): (() => Promise<Sandbox>) => {
  let sandbox: Promise<Sandbox> | null = null;
  return () => {
    if (sandbox === null) sandboxes.push((sandbox = openSandbox(languages, { ...limits, ...other }, 8)));
    return sandbox;
  };
};
// To fill memory takes longer on a busy machine.
const [patient, hasty, thorough] = [opened({}), opened({ wallSeconds: 1.5 }), opened({ seconds: 10 })];
const run = async (language: Language, program: string): Promise<string> => (await patient()).run(program, language);

afterAll(async () => {
  for (const sandbox of sandboxes) (await sandbox).dispose();
  rmSync(escaped, { force: true });
});

test.concurrent.each([
  ['python', 'assert sorted([2, 1]) == [1, 2]'],
  ['python', 'import math, re, collections, itertools, functools, heapq, typing, hashlib, random, json'],
  ['python', 'open("a.txt", "w").write("x")\nassert open("a.txt").read() == "x"'],
  ['python', 'import threading\nt = threading.Thread(target=lambda: None)\nt.start()\nt.join()'],
  ['python', 'import asyncio\nasync def f():\n  await asyncio.sleep(0)\n  return 1\nassert asyncio.run(f()) == 1'],
  ['python', 'import asyncio\nasync def f():\n  return await asyncio.get_running_loop().run_in_executor(None, abs, -1)\nassert asyncio.run(f()) == 1'], // prettier-ignore
  ['javascript', 'require("node:assert").equal([1, 2].length, 2)'],
  ['python', 'import bz2, lzma, zlib, sqlite3, ssl, datetime\ndatetime.datetime.now().astimezone()\nopen("/dev/null")'],
  ['javascript', 'require("node:fs").writeFileSync("a.txt", "x"); setTimeout(() => {}, 10)'],
  ['javascript', 'console.log("x"); console.error("x"); process.stdin.on("data", () => {})'],
  [
    'javascript',
    'module.exports = require; const fs = require("fs"); class WebSocket {}; var fetch = 1; exports.a = fetch + 1',
  ],
  ['javascript', '(async () => { await 1; await import("node:fs"); })();'],
  [
    'javascript',
    'const { pbkdf2 } = require("crypto"); (async () => new Promise((done) => pbkdf2("a", "b", 9, 9, "sha1", done)))()',
  ],
] as const)('%s: %j passes', async (language, program) => {
  expect(await run(language, program)).toBe('passed');
});

test.concurrent.each([
  ['python', 'assert 1 == 2'],
  ['python', 'def f(:'],
  ['python', 'import sys\nsys.exit(0)'],
  ['python', 'import os\nos._exit(0)'],
  ['python', 'raise SystemExit(0)'],
  ['javascript', 'throw new Error("no")'],
  ['javascript', 'process.exit(0)'],
  ['javascript', 'setTimeout(() => { throw new Error("late") }, 5)'],
  ['javascript', 'return; throw new Error("skipped")'],
  ['javascript', '(async () => { throw new Error("rejected") })()'],
  ['javascript', '(async () => { await new Promise(() => {}); throw new Error("never") })(); const after = 1;'],
  ['javascript', 'process.emit("beforeExit"); throw new Error("no")'],
  [
    'javascript',
    'process.on("uncaughtException", () => {}); process.removeAllListeners("exit"); throw new Error("no")',
  ],
  ['javascript', 'for (const each of process.listeners("beforeExit")) each(); throw new Error("no")'],
  ['javascript', 'setTimeout(() => { throw new Error("late") }, 50); setTimeout(() => process.emit("beforeExit"), 1)'],
] as const)('%s: %j fails', async (language, program) => {
  expect(await run(language, program)).toBe('failed');
});

test.concurrent.each([
  ['python', 'while True: pass', 'time'],
  ['javascript', 'for (;;);', 'time'],
  ['python', 'x = bytearray(10 ** 9)', 'memory'],
  ['python', 'import os\nwhile True: os.fork()', 'forbidden'],
  ['python', 'import subprocess\nsubprocess.run(["true"])', 'forbidden'],
  ['python', `open(${JSON.stringify(escaped)}, "w").write("x")`, 'forbidden'],
  ['python', `import os\nos.open(${JSON.stringify(escaped)}, os.O_CREAT | os.O_WRONLY)`, 'forbidden'],
  ['python', 'import socket\nsocket.socket()', 'forbidden'],
  ['python', 'import socket\ntry:\n  socket.socket()\nexcept BaseException: pass', 'forbidden'],
  ['python', 'import socket\nsocket.socket(socket.AF_UNIX)', 'forbidden'],
  ['python', 'import socket\nsocket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)', 'forbidden'],
  ['python', 'import socket\nsocket.socketpair()[0].connect("a")', 'forbidden'],
  ['python', 'import socket\nsocket.socketpair()[0].bind("a")', 'forbidden'],
  ['python', 'import socket\nsocket.socketpair()[0].sendto(b"a", "a")', 'forbidden'],
  ['python', 'import asyncio\nasyncio.run(asyncio.open_connection("127.0.0.1", 80))', 'forbidden'],
  ['python', 'import asyncio\nasyncio.run(asyncio.start_server(print, "127.0.0.1", 0))', 'forbidden'],
  ['python', 'import os\nos.kill(os.getppid(), 9)', 'forbidden'],
  ['python', 'import os, signal\nsignal.pidfd_send_signal(os.pidfd_open(os.getpid()), 0)', 'forbidden'],
  ['python', 'import fcntl, os\nfcntl.fcntl(os.pipe()[0], fcntl.F_SETOWN, os.getpid())', 'forbidden'],
  ['javascript', `require("fs").writeFileSync(${JSON.stringify(escaped)}, "x")`, 'forbidden'],
  ['javascript', 'require("node:child_process").execSync("true")', 'forbidden'],
  ['javascript', 'require("net").connect(80, "127.0.0.1")', 'forbidden'],
  ['javascript', 'fetch("http://127.0.0.1")', 'forbidden'],
  ['javascript', 'import("node:net").then(({ connect }) => connect(80))', 'forbidden'],
  ['javascript', 'process.getBuiltinModule?.("net").connect(80) ?? require("net").connect(80)', 'forbidden'],
  ['javascript', 'require("https").get("https://127.0.0.1").on("error", () => {})', 'forbidden'],
  ['javascript', 'new (Object.getPrototypeOf(require("tty").ReadStream))().connect(80)', 'forbidden'],
  ['javascript', 'require("fs").writeFileSync("a.mjs", "import { lookup } from \'dns\'; lookup(\'a\', () => {})"); import(process.cwd() + "/a.mjs")', 'forbidden'], // prettier-ignore
  ['javascript', 'process.kill(process.ppid, 9)', 'forbidden'],
  ['javascript', `require("fs").readFileSync(${JSON.stringify(own)})`, 'forbidden'],
  ['python', `open(${JSON.stringify(own)})`, 'forbidden'],
  ['python', `import os\nos.open(${JSON.stringify(own)}, os.O_RDONLY)`, 'forbidden'],
  ['python', `import os\nos.listdir(${JSON.stringify(dirname(own))})`, 'forbidden'],
] as const)('%s: %j is ended for its %s', async (language, program, why) => {
  const ending = await run(language, program);
  // If the system has no such limit, it is ended as well, for its time.
  expect(process.platform === 'linux' ? [why] : [why, 'time', 'failed', 'forbidden']).toContain(ending);
});

test.concurrent.each([
  ['python', 'import time\ntime.sleep(60)'],
  ['javascript', 'setInterval(() => {}, 1000)'],
] as const)('%s: %j, which sleeps, is ended by the clock', async (language, program) => {
  expect(await (await hasty()).run(program, language)).toBe('time');
});

test.concurrent.each([
  ['python', 'open("a", "w").write("x" * 10 ** 6)'],
  ['javascript', 'require("fs").writeFileSync("a", "x".repeat(10 ** 6))'],
  ['javascript', 'const fs = require("fs"); for (let i = 0; i < 10; i++) fs.appendFileSync("a", "x".repeat(10 ** 5))'],
] as const)('%s: %j, a file that grows without end, is stopped', async (language, program) => {
  expect(await run(language, program)).toBe('failed');
});

// Systems without such a limit end it for its time alone, when much memory is taken.
test
  .skipIf(process.platform !== 'linux')
  .concurrent.each([
    'const all = []; for (let i = 0; i < 48; i++) all.push(Buffer.alloc(2 ** 24))',
    'const all = []; for (let i = 0; i < 48; i++) all.push(new SharedArrayBuffer(2 ** 24))',
    'const all = []; for (;;) all.push(new Array(10 ** 6).fill(0.5))',
  ])('javascript: %j is ended for its memory', async (program) => {
  expect(await (await thorough()).run(program, 'javascript')).toBe('memory');
});

test.concurrent('what is disposed of ends at once, with what waits for its turn', async () => {
  const sandbox = await openSandbox(languages, limits, 1);
  const started = performance.now();
  const asleep = ['import time\ntime.sleep(20)', 'import time\ntime.sleep(21)'].map((program) =>
    sandbox.run(program, 'python'),
  );
  sandbox.dispose();
  for (const ending of [...(await Promise.all(asleep)), await sandbox.run('1', 'python')])
    expect(ending).not.toBe('passed');
  expect(performance.now() - started).toBeLessThan(10_000);
});

afterAll(() => {
  expect(existsSync(escaped)).toBe(false);
  expect(judges().filter((name) => !before.includes(name))).toEqual([]);
});
