/** A sixth architecture and a fifth policy, added by the records that CONTRIBUTING names and nothing else. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { architectures as named, parseExits } from '../../../protocol/options/notations.ts';
import { parseOptions } from '../../../protocol/options/options.ts';
import { policies, type PolicyName } from '../../../protocol/policies.ts';
import { policyOf } from '../../../backend/decoding/leaving/mode.ts';
import { architectures } from '../../../backend/exits/architectures.ts';
import type { ExitArchitecture, ExitSpec } from '../../../backend/exits/spec.ts';
import { plainModel } from '../../../backend/export/plain-model.ts';
import { openStagedModel } from '../../../backend/runtime/open.ts';
import { confidenceAt, decodeAll, idsOf, plainRequest } from '../../support/decoding.ts';
import { copiedExits, tinyModel } from '../../support/models.ts';

const half = 'half' as ExitArchitecture;
const even = 'even' as PolicyName;

beforeAll(() => {
  Object.assign(named, { [half]: 'the head reads a norm of half the stream' });
  // A norm does not see the scale: this architecture says what `norm` says.
  Object.assign(architectures, {
    [half]: {
      ...architectures.norm,
      state: ((ops, spec, exit, { stream, input }) =>
        architectures.norm.state(ops, spec, exit, {
          stream: { x: ops.scale(stream.x, 0.5), delta: null },
          input,
        })) satisfies (typeof architectures)['norm']['state'],
    },
  });
  Object.assign(policies, {
    [even]: { help: 'leave if the token is even', setBy: 'threshold', largest: 9, usual: 2, leaves: evenLeaves },
  });
});
afterAll(() => {
  for (const [table, name] of [
    [named, half],
    [architectures, half],
    [policies, even],
  ] as const)
    delete (table as Record<string, unknown>)[name];
});

const evenLeaves = (_: number, { token }: { token: number }): boolean => token % 2 === 0;
const prompts = [[7, 99, 23, 4]];

test('an architecture is read, given values, run and exported', async () => {
  expect(parseExits('2:half')).toEqual({ kind: 'placed', exits: [{ layer: 2, architecture: half }] });
  const model = tinyModel();
  const texts = [];
  for (const architecture of ['norm', half] as const) {
    const exit: ExitSpec = { layer: 2, architecture, head: { kind: 'own' } };
    const exits = copiedExits(model, [exit]);
    const staged = await openStagedModel(model, exits);
    const { tokens } = await decodeAll(staged, plainRequest(prompts, 12, { policy: confidenceAt(0) }));
    texts.push(tokens.map(idsOf));
    await staged.dispose();
    const parameters = new Map([
      [`exits.2.${architecture}.norm.weight`, { shape: [model.spec.hidden], data: new Float32Array() }],
    ]);
    expect((await plainModel(model, exit, parameters, 'hf')).layers).toBe(2);
  }
  expect(texts[1]).toEqual(texts[0]);
  model.close();
});

test('a policy has its usual threshold if none is given', () => {
  const policy = (threshold: string) => {
    const options = parseOptions('generate', { policy: 'entropy', threshold });
    return policyOf({ ...options, policy: even }, null);
  };
  expect(policy('auto').threshold('2:norm')).toBe(2);
  expect(['2:norm', '4:norm'].map(policy('2=4').threshold)).toEqual([4, 2]);
  expect(policy('6').threshold('2:norm')).toBe(6);
});

test('a policy decides', async () => {
  const model = tinyModel();
  const exit: ExitSpec = { layer: 2, architecture: 'norm', head: { kind: 'own' } };
  const staged = await openStagedModel(model, copiedExits(model, [exit]));
  const { tokens } = await decodeAll(
    staged,
    plainRequest(prompts, 20, { policy: { kind: even, threshold: () => 0 }, candidates: 1 }),
  );
  for (const token of tokens.flat()) expect(token.exit === '2:norm').toBe(token.opinions![0]!.token!.id % 2 === 0);
  await staged.dispose();
  model.close();
});
