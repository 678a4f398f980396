/** Gates on states whose truth is known, and in decoding. */
import { afterAll, expect, test } from 'vitest';
import { chanceOf, fitGate, opens } from '../../../../backend/decoding/leaving/gate.ts';
import { seededRandom } from '../../../../backend/decoding/sampling/random.ts';
import { openStagedModel } from '../../../../backend/runtime/open.ts';
import type { Slots, StagedModel } from '../../../../backend/runtime/staged-model.ts';
import { confidenceAt, decodeAll, plainRequest } from '../../../support/decoding.ts';
import { copiedExits, tinyModel } from '../../../support/models.ts';

const model = tinyModel();
const specs = [{ layer: 2, architecture: 'norm', head: { kind: 'shared' } }] as const;
const staged = await openStagedModel(model, copiedExits(model, specs));
afterAll(async () => {
  await staged.dispose();
  model.close();
});

test('a gate learns which states leave, whatever their size', () => {
  const random = seededRandom(2);
  const normal = (): number => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
  const made = (count: number) => {
    const states = Array.from({ length: count }, () => Float32Array.from({ length: 32 }, normal));
    const left = states.map((s) => Number(s[0]! - 0.5 * s[1]! + 0.3 * normal() > 0.8));
    return { states: states.map((s) => s.map((x) => x * (0.1 + 10 * random()))), left };
  };
  const { states, left } = made(2000);
  const fitted = fitGate(states, left);
  const fresh = made(1000);
  const right = fresh.states.filter((state, i) => Number(chanceOf(fitted, state) >= 0.5) === fresh.left[i]).length;
  expect(right / 1000).toBeGreaterThan(0.85);
  const mean = fresh.states.reduce((sum, state) => sum + chanceOf(fitted, state), 0) / 1000;
  const share = fresh.left.reduce((a, b) => a + b, 0) / 1000;
  expect(Math.abs(mean - share)).toBeLessThan(0.06);
});

test('a closed gate keeps an exit from being read, an open one changes nothing', async () => {
  const prompts = [
    [7, 99, 23, 4],
    [101, 5],
  ];
  const request = plainRequest(prompts, 20, { policy: confidenceAt(0) });
  const weights = new Float32Array(model.spec.hidden);
  const gate = (least: number) => new Map([['2:norm', { weights, bias: 0, least }]]);
  let read = 0;
  const counting: StagedModel = {
    ...staged,
    openSlots(rows) {
      const slots = staged.openSlots(rows);
      return Object.assign(Object.create(slots) as Slots, {
        read: (...call: Parameters<Slots['read']>) => {
          if (call[0] === 0) read++;
          return slots.read(...call);
        },
      });
    },
  };
  const open = await decodeAll(counting, { ...request, gates: gate(0.5) });
  expect(open).toEqual(await decodeAll(staged, request));
  expect(read).toBeGreaterThan(0);
  read = 0;
  const closed = await decodeAll(counting, { ...request, gates: gate(0.6) });
  expect(read).toBe(0);
  expect(closed.tokens.flat().every(({ exit }) => exit === 'final')).toBe(true);
  expect(opens({ weights, bias: 0, least: 0.5 }, new Float32Array(64).fill(1))).toBe(true);
});

test('only states that look like leaving are read', async () => {
  const all = await decodeAll(staged, plainRequest([[7, 99, 23, 4]], 30, { policy: confidenceAt(0) }));
  const random = seededRandom(5);
  const weights = Float32Array.from({ length: model.spec.hidden }, () => random() - 0.5);
  const gates = new Map([['2:norm', { weights, bias: 0, least: 0.5 }]]);
  const some = await decodeAll(staged, plainRequest([[7, 99, 23, 4]], 30, { policy: confidenceAt(0), gates }));
  const exits = some.tokens[0]!.map(({ exit }) => exit);
  expect(new Set(exits)).toEqual(new Set(['2:norm', 'final']));
  expect(all.tokens[0]!.every(({ exit }) => exit === '2:norm')).toBe(true);
});
