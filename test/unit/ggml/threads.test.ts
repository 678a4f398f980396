import { expect, test } from 'vitest';
import { newGovernor } from '../../../backend/ggml/threads.ts';

test('threads that were put aside rest, for longer each time, and return where the machine is quiet', () => {
  let now = 0;
  const governor = newGovernor(4, () => now);
  expect(governor.count()).toBe(4);
  governor.took(4, 10, 40);
  expect(governor.count()).toBe(4);
  governor.took(4, 100, 150);
  expect(governor.count()).toBe(1);
  now = 499;
  expect(governor.count()).toBe(1);
  now = 501;
  expect(governor.count()).toBe(4);
  governor.took(4, 100, 150);
  now = 1400;
  expect(governor.count()).toBe(1);
  now = 1600;
  expect(governor.count()).toBe(4);
  governor.took(4, 10, 39);
  governor.took(4, 10, 5);
  now = 2101;
  expect(governor.count()).toBe(4);
});

test('a short graph and one thread say nothing', () => {
  const governor = newGovernor(4, () => 0);
  governor.took(4, 1, 1);
  governor.took(1, 100, 10);
  expect(governor.count()).toBe(4);
});
