import { execFileSync, spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { uptime } from 'node:os';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import { expect, it } from 'vitest';
import { lockOrRefuse, takeLock, type Lock } from '../../../backend/system/lock.ts';
import { userError, type UserError } from '../../../protocol/errors.ts';
import { temporaryFolder } from '../formats/fixtures.ts';

const lockModule = path.resolve(import.meta.dirname, '../../../backend/system/lock.ts');
const token = '0123456789abcdef';
const dead = (): number => Number(execFileSync('node', ['-p', 'process.pid'], { encoding: 'utf8' }));
const holder = (pid: number, started: string | null = null): string =>
  JSON.stringify({ pid, thread: null, started, token });

function taken(file: string): Lock {
  const lock = takeLock(file);
  if ('heldBy' in lock) throw new Error(`held by ${lock.heldBy}`);
  return lock;
}

it('leaves nothing where it cannot be written, as on a full disk', () => {
  const folder = temporaryFolder();
  // What the shell may write at most, in blocks.
  const program = `import { takeLock } from '${lockModule}'; try { takeLock('${path.join(folder, '.lock')}'); } catch (error) { console.log(error.code); }`;
  const words = ['--import', 'tsx', '--input-type=module', '-e', program];
  const output = execFileSync('sh', ['-c', 'trap "" XFSZ; ulimit -f 0; exec node "$@"', 'sh', ...words], {
    encoding: 'utf8',
  });
  expect([output.trim(), readdirSync(folder)]).toEqual(['EFBIG', []]);
});

it('is a sentence where it cannot be had: whose it is, or what is wrong with its folder', () => {
  const folder = temporaryFolder();
  const file = path.join(folder, '.lock');
  const busy = (pid: number): UserError => userError('busy', `It is ${pid}'s.`);
  const lock = lockOrRefuse(file, busy);
  expect(() => lockOrRefuse(file, busy)).toThrow(`It is ${process.pid}'s.`);
  lock.release();
  const nowhere = path.join(folder, 'nowhere');
  expect(() => lockOrRefuse(path.join(nowhere, '.lock'), busy)).toThrow(`Cannot write ${nowhere}: it does not exist.`);
});

it('is held by one, until it is released', () => {
  const file = path.join(temporaryFolder(), '.lock');
  const lock = taken(file);
  expect(lock.inherited).toBe(false);
  expect(takeLock(file)).toEqual({ heldBy: process.pid });
  lock.release();
  expect(existsSync(file)).toBe(false);
  const next = taken(file);
  lock.release(); // not its own any more
  expect(takeLock(file)).toEqual({ heldBy: process.pid });
  next.release();
});

it('is inherited from a process that is gone, or whose number is another one\u2019s by now', () => {
  const folder = temporaryFolder();
  const file = path.join(folder, '.lock');
  for (const left of [holder(dead()), holder(process.ppid, 'long ago'), '{"pid":-1}', 'nonsense from long ago']) {
    writeFileSync(file, left);
    if (left.startsWith('nonsense')) execFileSync('touch', ['-d', '2020-01-01', file]);
    const lock = taken(file);
    expect(lock.inherited).toBe(true);
    expect(JSON.parse(readFileSync(file, 'utf8'))).toMatchObject({ pid: process.pid });
    lock.release();
    expect(readdirSync(folder)).toEqual([]);
  }
  writeFileSync(file, holder(process.ppid));
  expect(takeLock(file)).toEqual({ heldBy: process.ppid });
});

it('is inherited where no start of a process is known, if it was made before the system started', () => {
  const file = path.join(temporaryFolder(), '.lock');
  const madeAt = (made: number): string =>
    JSON.stringify({ pid: process.ppid, thread: null, started: null, made, token });
  writeFileSync(file, madeAt(Date.now()));
  expect(takeLock(file)).toEqual({ heldBy: process.ppid });
  writeFileSync(file, madeAt(Date.now() - 1000 * uptime() - 3_600_000));
  expect(taken(file).inherited).toBe(true);
});

it('goes on where an heir was killed before it had taken over', () => {
  const folder = temporaryFolder();
  const file = path.join(folder, '.lock');
  const gone = dead();
  writeFileSync(file, holder(gone));
  writeFileSync(`${file}.${token}`, holder(gone).replace(token, 'fedcba9876543210'));
  taken(file).release();
  expect(readdirSync(folder)).toEqual([]);
});

it('has one holder, however many processes take it over at the same moment', async () => {
  const folder = temporaryFolder();
  const rounds = 200;
  const left = holder(dead());
  for (let round = 0; round < rounds; round++) writeFileSync(path.join(folder, `${round}`), left);
  const module = path.resolve(import.meta.dirname, '../../../backend/system/lock.ts');
  const script = `
    const { takeLock } = await import(${JSON.stringify(module)});
    console.log('ready');
    const start = await new Promise((resolve) => process.stdin.once('data', resolve));
    const from = Number(String(start));
    const won = [];
    for (let round = 0; round < ${rounds}; round++) {
      while (Date.now() < from + 4 * round);
      if (!('heldBy' in takeLock(${JSON.stringify(folder)} + '/' + round))) won.push(round);
    }
    console.log(JSON.stringify(won));
    process.stdin.on('end', () => process.exit(0));`;
  const children = [1, 2, 3].map(() =>
    spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', script], {
      stdio: ['pipe', 'pipe', 'inherit'],
    }),
  );
  const outputs = children.map((child) => text(child.stdout));
  await Promise.all(children.map((child) => new Promise((resolve) => child.stdout.once('data', resolve))));
  for (const child of children) child.stdin.write(String(Date.now() + 200));
  // A holder lives until all have tried.
  await Promise.all(children.map((child) => new Promise((resolve) => child.stdout.once('data', resolve))));
  for (const child of children) child.stdin.end();
  const won = (await Promise.all(outputs)).flatMap((out) => JSON.parse(out.split('\n')[1]!) as number[]);
  expect(won.sort((a, b) => a - b)).toEqual(Array.from({ length: rounds }, (_, round) => round));
  expect(readdirSync(folder)).toHaveLength(rounds);
});
