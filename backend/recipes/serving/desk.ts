/** Work on texts beside a batch that must not wait for it: in steps, one task at a time, clients in turn. Knows no texts. */
import type { Steps } from '../../data/steps.ts';
import { newTurns } from '../../decoding/turns.ts';

export interface Task {
  readonly client: string;
  readonly steps: Steps<void>;
  /** It ended with an error. */
  readonly refuse: (error: unknown) => void;
}

export interface Desk {
  add(task: Task): void;
  remove(task: Task): void;
  /** Works for about this time, or until nothing is left to do. */
  work(milliseconds: number): void;
  readonly waiting: number;
}

export function openDesk(): Desk {
  const tasks = newTurns<Task>(({ client }) => [client]);
  /** Steps of one task until the time is over; whether it is done. */
  const isDone = ({ steps, refuse }: Task, end: number): boolean => {
    try {
      while (!steps.next().done) if (performance.now() >= end) return false;
    } catch (error) {
      refuse(error);
    }
    return true;
  };
  return {
    add: (task) => tasks.add(task),
    remove: (task) => tasks.remove(task),
    work(milliseconds) {
      const end = performance.now() + milliseconds;
      do {
        const task = tasks.next();
        if (task === undefined) return;
        if (isDone(task, end)) tasks.remove(task);
      } while (performance.now() < end);
    },
    get waiting() {
      return tasks.size;
    },
  };
}
