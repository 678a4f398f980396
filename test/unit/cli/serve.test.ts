/** What `early-exit serve` says, and when. */
import { expect, test } from 'vitest';
import { runServe } from '../../../backend/cli/draw/serve.ts';
import { parseOptions } from '../../../protocol/options/options.ts';
import { openScreen, visible } from './screen.ts';

const never = new AbortController().signal;
const context = (screen: ReturnType<typeof openScreen>, signal: AbortSignal) => ({
  terminal: screen.terminal,
  signal,
  readInput: () => Promise.resolve(''),
});
const options = (given: Record<string, unknown> = {}) => parseOptions('serve', { port: 0, device: 'cpu', ...given });

test('it says that it loads, and with the last line that it is ready', async () => {
  const screen = openScreen();
  const stop = new AbortController();
  const served = runServe(options(), false, context(screen, stop.signal));
  const last = (): string => visible(screen.err()).at(-1) ?? '';
  await expect.poll(last, { timeout: 30_000 }).toMatch(/^Ready: typescript-5m on cpu, without exits/);
  expect(visible(screen.err())[0]).toMatch(/^Listening at http:\S+; requests get status 503 until/);
  stop.abort();
  await served;
});

test('who may ask is looked at before the model is opened', async () => {
  const screen = openScreen();
  const refused = runServe(options({ host: '0.0.0.0', model: 'models/typescript-5m' }), false, context(screen, never));
  await expect(refused).rejects.toThrow(/clients there need a key/);
  expect(screen.err()).toBe('');
});
