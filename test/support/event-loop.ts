/**
 * Lets a test process hear its runner after each test. Computations return without ever leaving the thread, so a file of slow
 * tests would be deaf for longer than the minute that the runner waits for an answer.
 */
import { setImmediate } from 'node:timers/promises';
import { afterEach } from 'vitest';

afterEach(() => setImmediate());
