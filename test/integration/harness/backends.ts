/** Backends that the windows of one driver started; others on this machine belong to other programs. Knows no `vscode`. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

/** Process ids of those that inherited this `EARLY_EXIT_TEST_CONTROL`. */
export function backendsOf(control: string): number[] {
  const list = execFileSync('/bin/ps', ['-eo', 'pid=,args='], { encoding: 'utf8' });
  return list.split('\n').flatMap((line) => {
    const match = /^\s*(\d+)\s.*server\.js --stdio/.exec(line);
    return match && inherited(match[1]!, control) ? [Number(match[1])] : [];
  });
}

/** Seconds that a process has computed so far, in steps of a hundredth; 0 if it has ended. */
export function secondsComputed(pid: number): number {
  try {
    if (process.platform !== 'linux') {
      const [minutes, seconds] = execFileSync('/bin/ps', ['-o', 'time=', '-p', String(pid)], {
        encoding: 'utf8',
      }).split(':');
      return 60 * Number(minutes) + Number(seconds);
    }
    // Behind the program's name in brackets: its state, …, the ticks of its user time (12th) and of its system time.
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
      .replace(/^.*\) /s, '')
      .split(' ');
    return (Number(fields[11]) + Number(fields[12])) / 100;
  } catch {
    return 0;
  }
}

/** If that cannot be told, it counts. */
function inherited(pid: string, control: string): boolean {
  try {
    return readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0').includes(`EARLY_EXIT_TEST_CONTROL=${control}`);
  } catch {
    return process.platform !== 'linux';
  }
}
