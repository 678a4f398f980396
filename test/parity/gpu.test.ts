/**
 * Models on a graphics card through ggml's Vulkan, which is lavapipe here, a card in software, so shapes are tiny. Its products are
 * made in 32 bits, to be compared within 1e-3.
 */
import { execa } from 'execa';
import { describe, expect, test } from 'vitest';
import { libraryFolder } from '../../backend/ggml/packages.ts';
import { bundled } from '../support/bundled.ts';
import { lavapipe } from '../support/lavapipe.ts';
import type { Answers } from './gpu-child.ts';

const tolerance = 1e-3;
/** Programs of the card are compiled on the processor that the other tests use; a cache keeps them for the next time. */
const slow = 900_000;

const environment = libraryFolder() === null ? null : await lavapipe();

/** This driver crashes now and then over buffers that were freed; what crashes three times is ours. */
const tries = 3;

async function ask<Name extends keyof Answers>(name: Name, word = ''): Promise<Answers[Name]> {
  const options = { env: environment!, timeout: slow, reject: false };
  for (let left = tries; ; left--) {
    const words = [bundled('gpu-child'), name, word];
    const { stdout, signal, failed, message } = await execa(process.execPath, words, options);
    if (!failed) return JSON.parse(stdout.split('\n').at(-1)!) as Answers[Name];
    if (signal === undefined || left === 1) throw new Error(message);
    console.warn(`${name} ${word}: the driver crashed (${signal}).`);
  }
}

describe.skipIf(environment === null)('Vulkan on a card in software', () => {
  test.each([
    ['llama-untied', tolerance],
    ['gemma2', tolerance],
    ['gpt2', tolerance],
    ['phi', tolerance],
    ['qwen3', tolerance],
    ['granitemoe', tolerance],
    // Blocks as they are stored, keys and values of 16 bits.
    ['llama-q4_k', 2e-2],
    ['llama-q6_k', 2e-2],
  ])(
    'logits of %s',
    async (name, most) => {
      expect(await ask('logits', name)).toBeLessThan(most);
    },
    slow,
  );

  test.each(['1', '2'])(
    'a model of which the card has the first layers: %s',
    async (layers) => {
      expect(await ask('split', layers)).toBeLessThan(tolerance);
    },
    slow,
  );

  test(
    'what crosses for a token is a state, a readout and places, whatever the context',
    async () => {
      const bytes = await ask('bytes');
      const [short, long] = [bytes[20]!, bytes[260]!];
      expect(long).toEqual(short);
      const hidden = 64;
      expect(short.sent).toBeGreaterThanOrEqual(4 * hidden);
      expect(short.sent + short.fetched).toBeLessThan(2 * 4 * hidden);
    },
    slow,
  );

  test(
    'a card that is lost during a text: the text goes on on the CPU, and says so',
    async () => {
      const { ids, expected, warnings } = await ask('lost');
      expect(ids).toEqual(expected);
      expect(warnings).toEqual([
        'The device the card failed: it could not compute a graph (status -1). Going on with the CPU.',
      ]);
    },
    slow,
  );

  test(
    'a batch with exits and deferred states has the tokens and layers of the CPU, whole and split',
    async () => {
      const decoding = await ask('decoding');
      const split = await ask('splitDecoding');
      expect(new Set(decoding.cpu.flat().map((token) => token.split('@')[1]))).toEqual(new Set(['3', '2', '1']));
      expect(decoding.gpu).toEqual(decoding.cpu);
      expect(split.gpu).toEqual(split.cpu);
    },
    slow,
  );

  test(
    'drafts leave texts as they are, but for near ties',
    async () => {
      const lossless = await ask('lossless');
      expect(lossless.texts).toBe(4);
      expect(lossless.differ).toBeLessThanOrEqual(1);
    },
    slow,
  );
});
