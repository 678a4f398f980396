/** Answers of a hub in another form than a hub's. */
import { describe, expect, it, onTestFinished } from 'vitest';
import { resolveModel } from '../../../backend/hub/hub.ts';
import { openHub, misdeeds } from '../../trial/hostile-hub.ts';
import { temporaryFolder } from '../formats/fixtures.ts';

describe('an answer of the hub', () => {
  it.each(['a listing that is no list', 'a listing of other kinds'])('%s', async (name) => {
    const misdeed = misdeeds.find((one) => one.name === name)!;
    const hub = await openHub(misdeed, 'test/fixtures/golden/tiny/qwen3', () => 0.5);
    onTestFinished(() => hub.close());
    const environment = { HF_ENDPOINT: hub.endpoint, HF_HOME: temporaryFolder() };
    const resolving = resolveModel('owner/name', { environment, cacheDirectory: temporaryFolder() });
    await expect(resolving).rejects.toThrow('its answer has not the form of a hub’s');
  });
});
