/** What a user reads where ggml's libraries are not installed. */
import { expect, test, vi } from 'vitest';
import type { Device } from '../../../backend/devices/devices.ts';
import { placeOn } from '../../../backend/devices/fallback.ts';

vi.mock('../../../backend/ggml/probe.ts', () => ({
  probeGgml: () => ({ problem: 'the package @early-exit/linux-x64 is not installed' }),
  ggmlPackage: () => '@early-exit/linux-x64',
}));

const card = {
  kind: 'metal',
  file: null,
  name: 'Metal',
  description: 'M3',
  free: 1,
  total: 1,
  software: false,
} as const;

const said = (share: Device['share']): string[] => {
  const messages: string[] = [];
  const device: Device = { kind: share?.gpu.kind ?? 'cpu', share, name: 'it', reason: '', named: false };
  placeOn(device, (message) => void messages.push(message));
  return messages;
};

test('the CPU without ggml is told with the packages that bring it, and where to find the command', () => {
  expect(said(null)).toEqual([
    'The CPU computes without ggml, which takes longer: the package @early-exit/linux-x64 is not installed. Install @early-exit/linux-x64; early-exit doctor names the command.',
  ]);
});

test('another device does not need it', () => {
  expect(said({ gpu: card, layers: 1 })).toEqual([]);
});
