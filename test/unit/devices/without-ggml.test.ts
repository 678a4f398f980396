/** What a user reads where ggml's optional packages are not installed. */
import { expect, test, vi } from 'vitest';
import { placeOn } from '../../../backend/devices/fallback.ts';

vi.mock('../../../backend/ggml/probe.ts', () => ({
  probeGgml: () => ({ problem: 'the optional package koffi is not installed' }),
  ggmlPackages: () => 'koffi @node-llama-cpp/linux-x64@3.21.1',
}));

const said = (provider: 'cpu' | 'webgpu'): string[] => {
  const messages: string[] = [];
  placeOn({ provider, name: provider, reason: '', named: false }, (message) => void messages.push(message));
  return messages;
};

test('the CPU without ggml is told with the packages that bring it, and where to find the command', () => {
  expect(said('cpu')).toEqual([
    'The CPU computes without ggml, which takes longer: the optional package koffi is not installed. Install koffi @node-llama-cpp/linux-x64@3.21.1; early-exit doctor names the command.',
  ]);
});

test('another device does not need it', () => {
  expect(said('webgpu')).toEqual([]);
});
