/**
 * `npm test`: sets up, checks types, lint and format, then runs the unit, parity and golden tests beside the integration suites, which wait
 * for editors most of the time. Ends with one line, `N passed, N failed` and, where tests were skipped, `, N skipped`. No dependencies of
 * its own.
 */
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { root, setUp } from './set-up.mjs';

const bin = (name) => path.join(root, 'node_modules', name);

/** Each check is one test. */
const checks = [
  ['types and lint', ['--max-old-space-size=4096', 'scripts/check.mjs']],
  ['format', [bin('prettier/bin/prettier.cjs'), '--check', '--log-level', 'warn', '.']],
];

/** Of processes that give way: a third of what others get where there are too few processors. */
const lowerPriority = 5;

const suites = [bin('tsx/dist/cli.mjs'), 'test/integration/run.ts'];

setUp();
const counts = [];
// What the suites need is brought while processors are busy with other tests; what goes wrong with it, the suites say.
const installing = node([...suites, '--install'], { quiet: true });
const checking = checks.map(([name, args]) => ({ name, checked: node(args, { quiet: true }) }));
for (const { name, checked } of checking) {
  const { code, output } = await checked;
  heading(name);
  process.stdout.write(output);
  counts.push({ passed: Number(code === 0), failed: Number(code !== 0), skipped: 0 });
}
const suitesEnded = installing.then(() => node(suites, { quiet: true }));
heading('unit, parity and golden tests');
counts.push(await vitest());
heading('integration tests');
counts.push(countsOf(await suitesEnded));

const total = (kind) => counts.reduce((sum, count) => sum + count[kind], 0);
const skipped = total('skipped');
console.log(`\n${total('passed')} passed, ${total('failed')} failed${skipped ? `, ${skipped} skipped` : ''}`);
process.exitCode = total('failed') === 0 ? 0 : 1;

function heading(text) {
  console.log(`\n── ${text} ──`);
}

async function vitest() {
  const file = path.join(root, '.cache/test/vitest.json');
  mkdirSync(path.dirname(file), { recursive: true });
  rmSync(file, { force: true });
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${file}`];
  const { code } = await node([bin('vitest/vitest.mjs'), 'run', ...reporters], { givesWay: true });
  if (!existsSync(file)) return { passed: 0, failed: 1, skipped: 0 };
  const report = JSON.parse(readFileSync(file, 'utf8'));
  // A file that fails to load has no tests of its own.
  const broken = report.testResults.filter((each) => each.status === 'failed' && each.assertionResults.length === 0);
  const failed = report.numFailedTests + broken.length;
  return {
    passed: report.numPassedTests,
    failed: failed === 0 && code !== 0 ? 1 : failed,
    skipped: report.numPendingTests + report.numTodoTests,
  };
}

/** Of the integration suites, which are in the driver's last line. */
function countsOf({ code, output }) {
  process.stdout.write(output);
  const lines = [...output.matchAll(/^(\d+) passed, (\d+) failed(?:, (\d+) skipped)?$/gm)];
  const [passed, failed, skipped] = (lines.at(-1) ?? []).slice(1).map((text) => Number(text ?? 0));
  if (passed === undefined) return { passed: 0, failed: 1, skipped: 0 };
  return { passed, failed: failed === 0 && code !== 0 ? 1 : failed, skipped };
}

/**
 * Runs Node and answers its code and what it printed, which also goes to this terminal as it comes, unless it shall be quiet. One that gives
 * way leaves the processors to others that need them at the same time.
 */
function node(args, { quiet = false, givesWay = false } = {}) {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, args, { cwd: root, stdio: ['ignore', 'pipe', quiet ? 'pipe' : 'inherit'] });
    if (givesWay && child.pid !== undefined) os.setPriority(child.pid, lowerPriority);
    let output = '';
    const take = (text) => {
      output += text;
      if (!quiet) process.stdout.write(text);
    };
    child.stdout.setEncoding('utf8').on('data', take);
    child.stderr?.setEncoding('utf8').on('data', take);
    child.on('close', (code) => resolve({ code, output }));
  });
}
