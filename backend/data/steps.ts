/** Work that can be interrupted: a generator that yields every few milliseconds and returns what came of it. */
export type Steps<Result, Progress = unknown> = Generator<Progress, Result, void>;

/** All of it at once. */
export function finish<Result>(steps: Steps<Result>): Result {
  for (;;) {
    const step = steps.next();
    if (step.done) return step.value;
  }
}
