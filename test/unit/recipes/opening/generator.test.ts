/** A generator stays open for the next request, and only while what it was made of is the same. */
import { cpSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { plainRequest } from '../../../support/decoding.ts';
import { afterAll, expect, test, vi } from 'vitest';
import type * as Placing from '../../../../backend/devices/fallback.ts';
import { openGenerator, closeGenerators } from '../../../../backend/recipes/opening/generator.ts';
import { tune } from '../../../../backend/recipes/training/tune.ts';
import { generate } from '../../../../backend/recipes/generate.ts';
import { parseOptions } from '../../../../protocol/options/options.ts';
import { shippedModel } from '../../../support/golden.ts';

const made = vi.hoisted(() => ({ isFull: false, disposed: 0 }));
vi.mock('../../../../backend/devices/fallback.ts', async (original) => {
  const real = await original<typeof Placing>();
  const placeStagedModel: typeof real.placeStagedModel = async (...given) => {
    const staged = await real.placeStagedModel(...given);
    return {
      ...staged,
      openSlots(rows) {
        if (made.isFull) throw new Error('no room');
        return staged.openSlots(rows);
      },
      async dispose() {
        made.disposed++;
        await staged.dispose();
      },
    };
  };
  return { ...real, placeStagedModel };
});

const folder = mkdtempSync(join(tmpdir(), 'early-exit-'));
const model = join(folder, 'model');
cpSync(shippedModel, model, { recursive: true });
afterAll(async () => {
  await closeGenerators();
  rmSync(folder, { recursive: true });
});

const { signal } = new AbortController();
const optionsOf = (different: Record<string, unknown> = {}) =>
  parseOptions('generate', { model, prompt: ['const x = '], device: 'cpu', maxTokens: 8, ...different });

/** A checkpoint with a lens behind layers 4 and 8; made once. */
let tuned: Promise<string> | null = null;
const tunedExits = (): Promise<string> => (tuned ??= tuneOnce());
async function tuneOnce(): Promise<string> {
  const out = join(folder, 'exits');
  const data = ['protocol/plural.ts'];
  const small = { exits: '4,8', initialise: 'copy', steps: 1, device: 'cpu', exitDevice: 'cpu' };
  for await (const event of tune(parseOptions('tune', { model, data, out, ...small }), signal)) void event;
  return out;
}

test('a generator is kept, until the model’s files or the options change', async () => {
  const first = await openGenerator(optionsOf(), signal);
  expect(await openGenerator(optionsOf({ prompt: ['let y = '], temperature: 1 }), signal)).toBe(first);
  utimesSync(model, new Date(), new Date(Date.now() + 5000));
  const second = await openGenerator(optionsOf(), signal);
  expect(second).not.toBe(first);
  expect(await openGenerator(optionsOf({ precision: 'exact' }), signal)).not.toBe(second);
});

test('a model whose passes cannot be measured is closed, and can be opened again', async () => {
  await closeGenerators();
  made.disposed = 0;
  made.isFull = true;
  await expect(openGenerator(optionsOf(), signal, { measures: true })).rejects.toThrow('no room');
  expect(made.disposed).toBe(1);
  made.isFull = false;
  await openGenerator(optionsOf(), signal, { measures: true });
});

test('a kept generator goes on from the text it wrote', async () => {
  const textOf = async (prompt: string): Promise<string> => {
    for await (const event of generate(optionsOf({ prompt: [prompt] }), signal)) {
      if (event.type === 'generated') return event.texts[0]!;
    }
    throw new Error('nothing was generated');
  };
  const first = await textOf('const x = ');
  const onward = await textOf(`const x = ${first}`);
  const { session, tokenizer } = await openGenerator(optionsOf(), signal);
  const again = {
    ...plainRequest([], 1),
    prompt: tokenizer.encode(`const x = ${first}${onward}`),
    number: 0,
    scores: null,
  };
  for await (const event of session.write([again]))
    if (event.type === 'prompt') expect(event.remembered).toBeGreaterThan(12);
  await closeGenerators();
  expect(await textOf(`const x = ${first}`)).toBe(onward);
});

test('one that is cut at all exits serves who asks some of them, and says what one of their own would', async () => {
  const exits = await tunedExits();
  const asking = { exits, mode: 'fast', threshold: '0.3', disable: ['8'] };
  const exitsOf = async (): Promise<string[]> => {
    const written: string[] = [];
    for await (const event of generate(optionsOf(asking), signal))
      if (event.type === 'token') written.push(`${event.token.text} ${event.token.exit}`);
    return written;
  };
  await closeGenerators();
  const whole = await openGenerator(optionsOf({ exits, candidates: 4 }), signal);
  expect(await openGenerator(optionsOf({ exits }), signal)).toBe(whole);
  expect(await openGenerator(optionsOf(asking), signal)).toBe(whole);
  const shared = await exitsOf();
  expect(shared.some((token) => token.endsWith('4:lens'))).toBe(true);
  await closeGenerators();
  expect(await exitsOf()).toEqual(shared);
  expect(await openGenerator(optionsOf({ exits, candidates: 4 }), signal)).not.toBe(whole);
}, 120_000);

test('a request at full depth takes a model that is cut for another one, and has no exits there', async () => {
  const exits = await tunedExits();
  await closeGenerators();
  const cut = await openGenerator(optionsOf({ exits, mode: 'lossless' }), signal);
  const full = await openGenerator(optionsOf({ exits, mode: 'full' }), signal);
  expect(full.session).toBe(cut.session);
  expect(full).toMatchObject({ exits: [], calibration: null });
  expect(cut.exits).toHaveLength(2);
  expect((await openGenerator(optionsOf({ exits, mode: 'full', precision: 'exact' }), signal)).session).not.toBe(
    cut.session,
  );
}, 120_000);

test('a request without exits leaves at none of a model that is cut for another one', async () => {
  const exits = await tunedExits();
  await closeGenerators();
  const cut = await openGenerator(optionsOf({ exits, mode: 'fast', threshold: '0.3' }), signal);
  const without = { mode: 'fast', threshold: '0.3' };
  expect((await openGenerator(optionsOf(without), signal)).session).toBe(cut.session);
  const left = new Set<string | number>();
  for await (const event of generate(optionsOf(without), signal))
    if (event.type === 'token') left.add(event.token.exit);
  expect([...left]).toEqual(['final']);
  // Predictions of exits are read where they are the request's own.
  expect((await openGenerator(optionsOf({ ...without, candidates: 4 }), signal)).session).not.toBe(cut.session);
}, 120_000);

test('an exit that the checkpoint has not is refused by name, as one to disable and as one with a threshold', async () => {
  const exits = await tunedExits();
  const run = async (different: Record<string, unknown>): Promise<void> => {
    for await (const event of generate(optionsOf({ exits, mode: 'fast', ...different }), signal)) void event;
  };
  await run({ threshold: '4:lens=0.5' });
  await expect(run({ threshold: '99=0.5' })).rejects.toMatchObject({
    code: 'bad-argument',
    message: expect.stringMatching(/There is no exit "99" to have a threshold/) as string,
  });
  await expect(run({ disable: ['5:mlp'] })).rejects.toMatchObject({
    message: expect.stringMatching(/There is no exit "5:mlp" to disable/) as string,
  });
}, 120_000);

test('a chat template that loops ends with a sentence, and at once where the job is cancelled', async () => {
  const hostile = join(folder, 'hostile');
  cpSync(shippedModel, hostile, { recursive: true });
  writeFileSync(
    join(hostile, 'chat_template.jinja'),
    '{% for a in range(9999) %}{% for b in range(9999) %}{{ a }}{% endfor %}{% endfor %}',
  );
  const stop = new AbortController();
  const run = async (): Promise<void> => {
    for await (const event of generate(optionsOf({ model: hostile, chat: true }), stop.signal))
      if (event.type === 'token') throw new Error('there is no prompt to go on from');
  };
  await expect(run()).rejects.toMatchObject({
    code: 'unsupported',
    message: expect.stringMatching(/hostile.*takes more steps/) as string,
  });
  const cancelled = run();
  setTimeout(() => stop.abort(), 50);
  await expect(cancelled).rejects.toMatchObject({ code: 'cancelled' });
});

test('a conversation goes through the template, turn by turn', async () => {
  const chatty = join(folder, 'chatty');
  cpSync(shippedModel, chatty, { recursive: true });
  const template = '{% for m in messages %}// {{ m.role }}: {{ m.content }}\n{% endfor %}// assistant:';
  writeFileSync(join(chatty, 'chat_template.jinja'), template);
  const promptTokens = async (given: Parameters<typeof generate>[0]): Promise<[number, string]> => {
    for await (const event of generate(given, signal))
      if (event.type === 'generated') return [event.promptTokens, event.texts[0]!];
    throw new Error('nothing was generated');
  };
  const turns = [
    { role: 'system', content: 'Brief.' },
    { role: 'user', content: 'A?' },
    { role: 'assistant', content: 'B.' },
    { role: 'user', content: 'C?' },
  ] as const;
  const written = '// system: Brief.\n// user: A?\n// assistant: B.\n// user: C?\n// assistant:';
  const options = optionsOf({ model: chatty, prompt: [''] });
  expect(await promptTokens({ ...options, turns })).toEqual(await promptTokens({ ...options, prompt: [written] }));
});
