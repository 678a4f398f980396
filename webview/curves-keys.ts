/** Keys, wheel and ranges of the chart: left and right read step by step, with shift ten at a time; plus, minus and 0 zoom. Pure. */

/** The number of steps by which the cursor moves, or the range of steps to show; null: all. */
export type KeyAction =
  { readonly type: 'move'; readonly by: number } | { readonly type: 'zoom'; readonly range: [number, number] | null };

/** Null for a key without a meaning here. `range`: the steps that are shown; `center`: the step that zooming keeps in its place. */
export function keyAction(
  event: Pick<KeyboardEvent, 'key' | 'shiftKey' | 'ctrlKey' | 'metaKey' | 'altKey'>,
  [from, to]: readonly [number, number],
  center: number,
): KeyAction | null {
  if (event.ctrlKey || event.metaKey || event.altKey) return null;
  const stride = event.shiftKey ? 10 : 1;
  const zoom = (factor: number): KeyAction => ({
    type: 'zoom',
    range: [center - (center - from) * factor, center + (to - center) * factor],
  });
  switch (event.key) {
    case 'ArrowLeft':
      return { type: 'move', by: -stride };
    case 'ArrowRight':
      return { type: 'move', by: stride };
    case 'Home':
      return { type: 'move', by: -Infinity };
    case 'End':
      return { type: 'move', by: Infinity };
    case '+':
    case '=':
      return zoom(0.8);
    case '-':
      return zoom(1.25);
    case '0':
      return { type: 'zoom', range: null };
    default:
      return null;
  }
}

/** How much wider the range gets by a turn of the wheel, in pixels: that of a notch by as much as by a key. */
export const wheelFactor = (pixels: number): number => 1.25 ** Math.max(-1, Math.min(1, pixels / 100));

/** The part of a wanted range within all steps; null: all of them. */
export function zoomWithin(
  all: readonly [number, number],
  wanted: readonly [number, number] | null,
): [number, number] | null | 'too near' {
  if (wanted === null) return null;
  const [from, to] = [Math.max(all[0], wanted[0]), Math.min(all[1], wanted[1])];
  if (to - from >= all[1] - all[0]) return null;
  return to - from >= 1 ? [from, to] : 'too near';
}
