/**
 * `npm test`: sets up, then runs the unit, parity and golden tests beside everything else: checks of types, lint and format first, then the
 * integration suites, which wait for editors most of the time. Ends with one line, `N passed, N failed` and, if tests were skipped,
 * `, N skipped`. No dependencies of its own.
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
const checking = checks.map(([name, args]) => ({ name, checked: node(args) }));
// What the suites need is brought while processors are busy with other tests; what goes wrong with it, the suites say.
const installing = node([...suites, '--install']);
const checksShown = showChecks();
const suitesEnded = Promise.all([checksShown, installing]).then(() => node(suites));
const counts = [await vitest(checksShown.then(() => heading('unit, parity and golden tests')))];
counts.push(...(await checksShown));
heading('integration tests');
counts.push(countsOf(await suitesEnded));

const total = (kind) => counts.reduce((sum, count) => sum + count[kind], 0);
const skipped = total('skipped');
console.log(`\n${total('passed')} passed, ${total('failed')} failed${skipped ? `, ${skipped} skipped` : ''}`);
process.exitCode = total('failed') === 0 ? 0 : 1;

function heading(text) {
  console.log(`\n── ${text} ──`);
}

async function showChecks() {
  const counts = [];
  for (const { name, checked } of checking) {
    const { code, output } = await checked;
    heading(name);
    process.stdout.write(output);
    counts.push({ passed: Number(code === 0), failed: Number(code !== 0), skipped: 0 });
  }
  return counts;
}

/** What it prints goes to this terminal from `shown` on. */
async function vitest(shown) {
  const file = path.join(root, '.cache/test/vitest.json');
  mkdirSync(path.dirname(file), { recursive: true });
  rmSync(file, { force: true });
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${file}`];
  const { code } = await node([bin('vitest/vitest.mjs'), 'run', ...reporters], { givesWay: true, shown });
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
 * Runs Node and answers its code and what it printed. That also goes to this terminal once `shown` has resolved, first what there is by
 * then. One that gives way leaves the processors to others that need them at the same time.
 */
function node(args, { shown = null, givesWay = false } = {}) {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, args, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] });
    if (givesWay && child.pid !== undefined) os.setPriority(child.pid, lowerPriority);
    let output = '';
    let isShown = false;
    const take = (text) => {
      output += text;
      if (isShown) process.stdout.write(text);
    };
    const all = shown?.then(() => {
      isShown = true;
      process.stdout.write(output);
    });
    child.stdout.setEncoding('utf8').on('data', take);
    child.stderr.setEncoding('utf8').on('data', take);
    child.on('close', (code) => void Promise.resolve(all).then(() => resolve({ code, output })));
  });
}
