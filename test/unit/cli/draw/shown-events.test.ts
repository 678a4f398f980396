import { expect, it } from 'vitest';
import { showGenerate } from '../../../../backend/cli/draw/generate.ts';
import { shownEvents } from '../../../../backend/cli/draw/shown-events.ts';
import type { GenerateEvent } from '../../../../protocol/events.ts';
import type { TokenRecord } from '../../../../protocol/trace.ts';
import { openScreen, stream } from '../screen.ts';

const hostile = '\x1b]0;owned\x07\n\u009b2J';
const token = { id: 1, text: hostile, exit: 'final', layer: 2, sequence: 0, confidence: 1 } as unknown as TokenRecord;
const events: GenerateEvent[] = [
  {
    type: 'ready',
    model: hostile,
    layers: 2,
    exits: [{ exit: `1:${hostile}`, layer: 1 }],
    device: 'cpu',
  } as GenerateEvent,
  { type: 'warning', message: hostile },
  { type: 'token', token },
];

const draw = async (tty: boolean): Promise<{ out: string; err: string }> => {
  const screen = openScreen({ tty, environment: { NO_COLOR: '1' } });
  await showGenerate(shownEvents(stream(...events), screen.terminal), screen.terminal, [hostile]);
  return { out: screen.out(), err: screen.err() };
};

it('sends a terminal no control characters of a model, a prompt or a message', async () => {
  const { out, err } = await draw(true);
  for (const text of [out, err]) {
    expect(text).not.toContain('\x1b]');
    expect(text).not.toContain('\x07');
    expect(text).not.toContain('\u009b');
  }
  expect(out).toContain('␛]0;owned␇\n‹U+009B›2J');
});

it('writes generated text exactly into a file', async () => {
  const { out, err } = await draw(false);
  expect(out).toBe(`${hostile}\n`);
  expect(err).not.toContain('\x1b]');
});
