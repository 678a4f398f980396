#!/usr/bin/env node
/** Entry of `early-exit`: words → command, errors → sentences and exit codes, Ctrl-C → a signal. */
import { text } from 'node:stream/consumers';
import { describeError, UserError, userError } from '../../protocol/errors.ts';
import { nearest } from '../../protocol/nearest.ts';
import { shown } from '../../protocol/shown.ts';
import { packageRoot, versionIn } from '../recipes/installation.ts';
import { endAtOnce } from '../worker/end.ts';
import { INTERRUPTED, type Command } from './command.ts';
import { commands } from './commands.ts';
import { overview } from './help.ts';
import { openTerminal, type Terminal } from './draw/terminal.ts';

const FAILED = 1;
const WRONG_USE = 2;

async function main(words: readonly string[], terminal: Terminal, signal: AbortSignal): Promise<number> {
  const [name, ...rest] = words;
  const helps = commands.map(({ help }) => help);
  if (name === '--version' || name === '-v' || name === 'version') {
    terminal.out.write(`${versionIn(packageRoot())}\n`);
    return 0;
  }
  const asksHelp = name === '--help' || name === '-h' || name === 'help';
  const context = { terminal, signal, readInput: () => readInput(signal) };
  const [about, level] = rest;
  if (asksHelp && about !== undefined)
    return commandOf(about).run(['--help', ...(level === 'all' ? [level] : [])], context);
  if (name === undefined || asksHelp) {
    const stream = name === undefined ? terminal.err : terminal.out;
    stream.write(overview(stream, helps));
    return name === undefined ? WRONG_USE : 0;
  }
  return commandOf(name).run(rest, context);
}

/** @throws UserError if there is none of that name. */
function commandOf(name: string): Command {
  const command = commands.find(({ help }) => help.name === name);
  if (command) return command;
  const names = commands.map(({ help }) => help.name);
  const near = nearest(name, names);
  const wayOut = near === null ? `The commands are ${names.join(', ')}.` : `Did you mean early-exit ${near}?`;
  throw userError('bad-argument', `There is no command ${name}.`, wayOut);
}

/** All of standard input; a Ctrl-C does not wait for its end. */
function readInput(signal: AbortSignal): Promise<string> {
  return new Promise((resolve, reject) => {
    const stop = (): void => {
      process.stdin.destroy();
      reject(userError('cancelled', CANCELLED));
    };
    if (signal.aborted) return stop();
    signal.addEventListener('abort', stop, { once: true });
    text(process.stdin).then(resolve, reject);
  });
}

const CANCELLED = 'Cancelled.';

/** Under `npx` one Ctrl-C comes twice, from the terminal and from npm: signals as close as this, in milliseconds, are one. */
const oneInterrupt = 300;

/** The first Ctrl-C asks the work to stop and keep what it has; the second ends the process. Closing the terminal counts as one, too. */
function watchInterrupts(terminal: Terminal, work: AbortController): void {
  let stoppingSince: number | null = null;
  const interrupt = (): void => {
    if (stoppingSince !== null) {
      if (performance.now() - stoppingSince > oneInterrupt) endAtOnce('SIGINT');
      return;
    }
    stoppingSince = performance.now();
    terminal.err.write(`${terminal.err.interactive ? '\r\x1b[2K' : ''}Stopping; Ctrl-C again ends at once.\n`);
    work.abort(userError('cancelled', CANCELLED));
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, interrupt);
}

/** Stops the work once its output cannot be written. */
function watchOutputs(terminal: Terminal, work: AbortController): void {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (work.signal.aborted) return;
    // A reader that has seen enough (`| head`) closes the pipe.
    process.exitCode = error.code === 'EPIPE' ? 0 : FAILED;
    const reason = error.code === 'ENOSPC' ? 'the disk is full' : error.message;
    if (process.exitCode === FAILED) say(terminal, `The output cannot be written: ${reason}.`);
    work.abort(userError('cancelled', CANCELLED));
  });
  // A closed standard error is no reason to stop.
  process.stderr.on('error', () => {});
}

const say = ({ err }: Terminal, sentence: string): void =>
  err.write(`${err.interactive ? '\r\x1b[2K' : ''}${err.colours.red('error')} ${sentence}\n`);

function report(error: unknown, terminal: Terminal, interrupted: boolean): number {
  if (interrupted && error instanceof UserError && error.code === 'cancelled') {
    // Some say what was kept, such as the part of a download.
    if (error.message !== CANCELLED) terminal.err.write(`${shown(error.message)}\n`);
    return INTERRUPTED;
  }
  say(terminal, shown(describeError(error)));
  if (!(error instanceof UserError)) {
    // A defect: what a report of it needs.
    if (error instanceof Error && error.stack)
      terminal.err.write(`${shown(error.stack, { keep: '\n', limit: 20_000 })}\n`);
    return FAILED;
  }
  return error.code === 'bad-argument' || error.code === 'bad-config' ? WRONG_USE : FAILED;
}

const terminal = openTerminal(process.stdout, process.stderr, process.env);
const work = new AbortController();
watchInterrupts(terminal, work);
watchOutputs(terminal, work);
void main(process.argv.slice(2), terminal, work.signal)
  .catch((error: unknown) => report(error, terminal, work.signal.aborted))
  .then((code) => (process.exitCode ??= code));
