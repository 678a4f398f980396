/** What PyTorch does not tune is refused with one sentence, before anything is read or written, and by plans too. */
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { describeError } from '../../../protocol/errors.ts';
import { parseOptions } from '../../../protocol/options/options.ts';
import { recipes } from '../../../backend/recipes/index.ts';
import { textEntry, writeGguf, type GgufEntry } from '../../../backend/formats/gguf-writer.ts';
import { fixtures, shippedModel } from '../../support/golden.ts';

let root: string;
beforeAll(() => (root = fs.mkdtempSync(path.join(os.tmpdir(), 'refused-'))));
afterAll(() => fs.rmSync(root, { recursive: true, force: true }));

/** The sentence that a run there ends with; nothing may be left of it. */
async function refusal(model: string, options: Record<string, unknown>): Promise<string> {
  const out = path.join(root, 'made.exits');
  try {
    const run = recipes.tune(parseOptions('tune', { model, out, ...options }), new AbortController().signal);
    for await (const event of run) if (event.type === 'planned') throw new Error('it was planned');
  } catch (error) {
    expect(fs.existsSync(out)).toBe(false);
    return describeError(error);
  }
  throw new Error('it was tuned');
}

function ggufFile(name: string, entries: readonly GgufEntry[]): string {
  const file = path.join(root, name);
  writeGguf(file, [textEntry('general.architecture', 'llama'), ...entries], []);
  return file;
}

const places: readonly Record<string, unknown>[] = [{ on: 'slurm' }, { on: 'ray:http://127.0.0.1:9' }, { plan: 8 }];

describe.each(places)('%o', (place) => {
  it.each(['mixtral', 'qwen3_moe'])('does not take a mixture of experts (%s)', async (family) => {
    const model = path.join(fixtures, 'tiny', family);
    expect(await refusal(model, place)).toBe(
      `${model} is a mixture of experts, and those are not tuned in PyTorch. Tune it here (--on here).`,
    );
  });

  it.each([
    ['gemma3', 'gemma3_text', 'Gemma 3'],
    ['mistral3', 'ministral3', 'Mistral 3'],
  ])('does not take a model with vision (%s)', async (type, language, called) => {
    const model = path.join(root, type);
    fs.cpSync(path.join(fixtures, 'tiny', language), model, { recursive: true });
    const file = path.join(model, 'config.json');
    const text_config: unknown = JSON.parse(
      fs.readFileSync(path.join(fixtures, 'tiny', language, 'config.json'), 'utf8'),
    );
    fs.writeFileSync(file, JSON.stringify({ model_type: type, text_config }));
    expect(await refusal(model, place)).toBe(
      `${model} has vision, and Transformers makes no language model of a ${called} that has. Tune it here (--on here).`,
    );
  });

  it.skipIf('plan' in place)('does not take weights for another number of exits than there are', async () => {
    const given = { ...place, data: ['protocol/p*.ts'], exitWeights: '1,2' };
    expect(await refusal(shippedModel, given)).toBe('--exit-weights has 2 weights for 3 exits.');
  });

  // A plan can be made of one: test/unit/cluster/plan.test.ts.
  it.skipIf('plan' in place)('does not take a GGUF file, and says which model to give instead', async () => {
    const plain = ggufFile('plain.gguf', []);
    const named = ggufFile('named.gguf', [textEntry('general.name', 'A Model\u001b[2J 1B')]);
    const hub = [textEntry('general.name', 'x'), textEntry('general.source.huggingface.repository', 'them/model-1b')];
    const known = ggufFile('known.gguf', hub);
    const sentence = (file: string, instead: string): string =>
      `${file} is no Hugging Face directory, and PyTorch reads no other model. ` +
      `Give the directory of the original model${instead}, or tune here (--on here).`;
    expect(await refusal(plain, place)).toBe(sentence(plain, ''));
    expect(await refusal(named, place)).toBe(sentence(named, ' (A Model␛[2J 1B)'));
    expect(await refusal(known, place)).toBe(sentence(known, ' (them/model-1b)'));
  });
});
