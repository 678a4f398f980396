/** What keys and the wheel do in the chart of the curves, and how far it zooms. */
import { expect, it } from 'vitest';
import { keyAction, wheelFactor, zoomWithin } from '../../../webview/curves-keys.ts';

const pressed = (key: string, held: Partial<KeyboardEvent> = {}) =>
  keyAction({ key, shiftKey: false, ctrlKey: false, metaKey: false, altKey: false, ...held }, [0, 100], 40);

it('reads step by step, with shift ten at a time, and from end to end', () => {
  expect(pressed('ArrowRight')).toEqual({ type: 'move', by: 1 });
  expect(pressed('ArrowLeft', { shiftKey: true })).toEqual({ type: 'move', by: -10 });
  expect([pressed('Home'), pressed('End')]).toEqual([
    { type: 'move', by: -Infinity },
    { type: 'move', by: Infinity },
  ]);
});

it('zooms around the cursor, and leaves other keys to the editor', () => {
  expect(pressed('+')).toEqual({ type: 'zoom', range: [8, 88] });
  expect(pressed('-')).toEqual({ type: 'zoom', range: [-10, 115] });
  expect(pressed('0')).toEqual({ type: 'zoom', range: null });
  expect([pressed('x'), pressed('+', { ctrlKey: true })]).toEqual([null, null]);
});

it('zooms no farther than to all steps, and no nearer than to one', () => {
  expect(zoomWithin([0, 100], [-10, 50])).toEqual([0, 50]);
  expect(zoomWithin([0, 100], [-10, 115])).toBeNull();
  expect(zoomWithin([0, 100], [10, 10.5])).toBe('too near');
  expect(zoomWithin([0, 100], null)).toBeNull();
});

it('zooms by the wheel as far as it turns, a notch like a key', () => {
  expect([wheelFactor(120), wheelFactor(0)]).toEqual([1.25, 1]);
  expect(wheelFactor(-100)).toBeCloseTo(0.8, 12);
  const slowly = wheelFactor(4);
  expect(slowly).toBeGreaterThan(1);
  expect(slowly ** 25).toBeCloseTo(1.25, 9);
});
