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

/** If that cannot be told, it counts. */
function inherited(pid: string, control: string): boolean {
  try {
    return readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0').includes(`EARLY_EXIT_TEST_CONTROL=${control}`);
  } catch {
    return process.platform !== 'linux';
  }
}
