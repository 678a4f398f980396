#!/usr/bin/env node
/** Entry of `early-exit`: words → command, errors → sentences and exit codes, Ctrl-C → a signal. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import { describeError, UserError, userError } from '../../protocol/errors.ts';
import { nearest } from '../../protocol/nearest.ts';
import { packageRoot } from '../recipes/installation.ts';
import { commands, INTERRUPTED } from './commands.ts';
import { overview } from './help.ts';
import { openTerminal, type Terminal } from './terminal.ts';

const FAILED = 1;
const WRONG_USE = 2;

async function main(words: readonly string[], terminal: Terminal, signal: AbortSignal): Promise<number> {
  const [name, ...rest] = words;
  const helps = commands.map(({ help }) => help);
  if (name === '--version' || name === '-v') {
    terminal.out.write(`${packageVersion()}\n`);
    return 0;
  }
  if (name === undefined || name === '--help' || name === '-h' || name === 'help') {
    const stream = name === undefined ? terminal.err : terminal.out;
    stream.write(overview(stream, helps));
    return name === undefined ? WRONG_USE : 0;
  }
  const command = commands.find(({ help }) => help.name === name);
  if (!command) {
    const names = helps.map((help) => help.name);
    const near = nearest(name, names);
    const wayOut = near === null ? `The commands are ${names.join(', ')}.` : `Did you mean early-exit ${near}?`;
    throw userError('bad-argument', `There is no command ${name}.`, wayOut);
  }
  return command.run(rest, { terminal, signal, readInput: () => text(process.stdin) });
}

function packageVersion(): string {
  const manifest: unknown = JSON.parse(readFileSync(path.join(packageRoot(), 'package.json'), 'utf8'));
  return (manifest as { version: string }).version;
}

/** The first Ctrl-C asks the work to stop and keep what it has; the second ends the process. */
function watchInterrupts(terminal: Terminal): AbortSignal {
  const controller = new AbortController();
  const interrupt = (): void => {
    if (controller.signal.aborted) process.exit(INTERRUPTED);
    terminal.err.write(`${terminal.err.interactive ? '\r\x1b[2K' : ''}Stopping; Ctrl-C again ends at once.\n`);
    controller.abort();
  };
  process.on('SIGINT', interrupt);
  process.on('SIGTERM', interrupt);
  return controller.signal;
}

function report(error: unknown, terminal: Terminal, interrupted: boolean): number {
  if (interrupted && error instanceof UserError && error.code === 'cancelled') return INTERRUPTED;
  const { red } = terminal.err.colours;
  terminal.err.write(`${red('error')} ${describeError(error)}\n`);
  if (!(error instanceof UserError)) {
    // A defect: what a report of it needs.
    if (error instanceof Error && error.stack) terminal.err.write(`${error.stack}\n`);
    return FAILED;
  }
  return error.code === 'bad-argument' || error.code === 'bad-config' ? WRONG_USE : FAILED;
}

// A reader that has seen enough (`| head`) closes the pipe.
process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : FAILED));

const terminal = openTerminal(process.stdout, process.stderr, process.env);
const signal = watchInterrupts(terminal);
main(process.argv.slice(2), terminal, signal).then(
  (code) => (process.exitCode = code),
  (error: unknown) => (process.exitCode = report(error, terminal, signal.aborted)),
);
