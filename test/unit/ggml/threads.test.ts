import { expect, test } from 'vitest';
import { newGovernor } from '../../../backend/ggml/threads.ts';

test('threads that were put aside rest, for longer each time, and return where the machine is quiet', () => {
  let now = 0;
  const governor = newGovernor(4, () => now);
  expect(governor.count()).toBe(4);
  governor.took(4, 300, 1200);
  expect(governor.count()).toBe(4);
  governor.took(4, 300, 900);
  expect(governor.count()).toBe(2);
  now = 499;
  expect(governor.count()).toBe(2);
  now = 501;
  expect(governor.count()).toBe(4);
  governor.took(4, 300, 900);
  now = 1400;
  expect(governor.count()).toBe(2);
  now = 1600;
  expect(governor.count()).toBe(4);
  governor.took(4, 300, 1150);
  governor.took(4, 300, 900);
  now = 2099;
  expect(governor.count()).toBe(2);
  now = 2101;
  expect(governor.count()).toBe(4);
});

test('half of the threads that are disturbed, too, are halved', () => {
  const governor = newGovernor(4, () => 0);
  governor.took(4, 300, 900);
  governor.took(2, 300, 400);
  expect(governor.count()).toBe(1);
});

test('one disturbed graph among many is no reason to rest', () => {
  const governor = newGovernor(2, () => 0);
  for (let i = 0; i < 20; i++) governor.took(2, 20, i === 7 ? 20 : 40);
  expect(governor.count()).toBe(2);
});

test('a short graph and one thread say nothing', () => {
  const governor = newGovernor(4, () => 0);
  for (let i = 0; i < 1000; i++) governor.took(4, 1, 1);
  governor.took(1, 1000, 100);
  expect(governor.count()).toBe(4);
});

test('few graphs are judged, more once one was disturbed, and of one thread none', () => {
  let now = 0;
  const governor = newGovernor(2, () => now);
  const judgedWithin = (milliseconds: number): number => {
    let judged = 0;
    for (const end = now + milliseconds; now < end; now++) judged += Number(governor.isJudging());
    return judged;
  };
  expect(judgedWithin(120)).toBe(2);
  governor.took(2, 20, 40);
  expect(judgedWithin(120)).toBe(2);
  governor.took(2, 20, 20);
  expect(judgedWithin(120)).toBe(10);
  governor.took(2, 20, 40);
  expect(judgedWithin(120)).toBe(2);
  governor.took(2, 300, 300);
  expect(governor.count()).toBe(1);
  now += 15;
  expect(governor.isJudging()).toBe(false);
});
