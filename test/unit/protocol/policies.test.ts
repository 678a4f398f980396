/** Each policy, on what exits might say. */
import { expect, test } from 'vitest';
import { policies, policyNames, type PolicyName, type ExitPrediction } from '../../../protocol/policies.ts';

const predicted = (token: number, confidence = 0.5, margin = 0.2, entropy = 1): ExitPrediction => ({
  token,
  confidence,
  margin,
  entropy,
});

test.each<[PolicyName, number, ExitPrediction, ExitPrediction[], boolean]>([
  ['confidence', 0.5, predicted(1, 0.5), [], true],
  ['confidence', 0.5, predicted(1, 0.49), [], false],
  ['confidence', 1, predicted(1, 1), [], false],
  ['margin', 0.2, predicted(1, 0.5, 0.2), [], true],
  ['margin', 0.2, predicted(1, 0.9, 0.19), [], false],
  ['margin', 1, predicted(1, 1, 1), [], false],
  ['entropy', 1, predicted(1, 0.5, 0.2, 1), [], true],
  ['entropy', 1, predicted(1, 0.5, 0.2, 1.01), [], false],
  ['entropy', 0, predicted(1, 1, 1, 0), [], false],
  ['patience', 1, predicted(1), [], true],
  ['patience', 2, predicted(1), [], false],
  ['patience', 2, predicted(1), [predicted(2), predicted(1)], true],
  ['patience', 3, predicted(1), [predicted(1)], false],
  ['patience', 3, predicted(1), [predicted(2), predicted(1)], false],
  ['patience', 3, predicted(1), [predicted(2), predicted(1), predicted(1)], true],
])('%s %d: %j behind %j leaves: %s', (name, value, now, earlier, leaves) => {
  expect(policies[name].leaves(value, now, earlier)).toBe(leaves);
});

test.each(policyNames)('%s: its usual threshold, if it has one, tells sure exits from others', (name) => {
  const policy = policies[name];
  if (policy.setBy !== 'threshold') return;
  expect(policy.usual).toBeGreaterThan(0);
  expect(policy.usual).toBeLessThanOrEqual(policy.largest);
  expect(policy.leaves(policy.usual, predicted(1, 0.95, 0.92, 0.2))).toBe(true);
  expect(policy.leaves(policy.usual, predicted(1, 0.4, 0.1, 2))).toBe(false);
});

test('each says what it is', () => {
  for (const name of policyNames) expect(policies[name].help).toMatch(/^leave if /);
});
