/** What is tried upon: small models of every kind, exits, text; made anew in a folder of the trial. */
import { cpSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { serialiseTrace } from '../../protocol/exittrace.ts';
import { flagName } from '../../protocol/options/options.ts';
import { readEntries, stringEntry, writeEntries } from './mutations/gguf.ts';
import { root, runProgram, type Program } from './program.ts';

const fixtures = path.join(root, 'test/fixtures');

export const shippedModel = path.join(root, 'models/typescript-5m');

/** Families of the tiny models, one of each shape of layer. */
export const families = ['llama-untied', 'gemma3_text', 'gpt2', 'gpt_neox', 'phi3', 'qwen3', 'llama-rope3', 'olmo2'];

const template =
  "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}" +
  '{% if add_generation_prompt %}<|assistant|>{% endif %}';

/** A Hugging Face directory: a tiny model with a tokenizer of bytes and a chat template. */
export function modelFolder(folder: string, family: string): string {
  const made = path.join(folder, family);
  if (existsSync(made)) return made;
  mkdirSync(made, { recursive: true });
  for (const file of ['config.json', 'model.safetensors'])
    cpSync(path.join(fixtures, 'golden/tiny', family, file), path.join(made, file));
  writeFileSync(path.join(made, 'tokenizer.json'), JSON.stringify(byteTokenizer()));
  writeFileSync(
    path.join(made, 'tokenizer_config.json'),
    JSON.stringify({ eos_token: '<|end|>', add_bos_token: false }),
  );
  writeFileSync(path.join(made, 'chat_template.jinja'), template);
  return made;
}

/** The tiny models have 256 tokens: the first of the golden tokenizer, without merges. */
function byteTokenizer(): unknown {
  interface Golden {
    readonly tokenizer: { readonly model: { readonly vocab: Record<string, number> } };
  }
  const { tokenizer } = JSON.parse(readFileSync(path.join(fixtures, 'tokenizers/byte-level.json'), 'utf8')) as Golden;
  const vocab = Object.fromEntries(Object.entries(tokenizer.model.vocab).filter(([, id]) => id < 256));
  return { ...tokenizer, model: { ...tokenizer.model, vocab, merges: [] } };
}

/** A folder with one GGUF file, its chat template inside. */
export function ggufFolder(folder: string, type: string): string {
  const made = path.join(folder, `gguf-${type}`);
  if (existsSync(made)) return made;
  mkdirSync(made, { recursive: true });
  const parts = readEntries(readFileSync(path.join(fixtures, `golden/gguf/llama-${type}.gguf`)));
  const entries = [...parts.entries, stringEntry('tokenizer.chat_template', template)];
  writeFileSync(path.join(made, 'model.gguf'), writeEntries({ ...parts, entries }));
  return made;
}

/** A folder with text of several kinds. */
export function textFolder(folder: string): string {
  const made = path.join(folder, 'text');
  if (existsSync(made)) return made;
  mkdirSync(made, { recursive: true });
  for (const name of ['errors', 'jobs', 'server'])
    cpSync(path.join(root, `protocol/${name}.ts`), path.join(made, `${name}.ts`));
  const lines = Array.from({ length: 12 }, (_, i) =>
    i % 2
      ? { text: `const value${i} = ${i}; // the ${i}th of some lines\n`.repeat(4) }
      : {
          messages: [
            { role: 'system', content: 'Short.' },
            { role: 'user', content: `Add ${i}.` },
            { role: 'assistant', content: `x + ${i} is more than x, which was asked.` },
          ],
        },
  );
  writeFileSync(path.join(made, 'mixed.jsonl'), lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
  const exits = ['2:norm', '4:mlp', 'final'];
  const tokens = Array.from({ length: 40 }, (_, index) => {
    const token = { id: index, text: index % 8 === 7 ? ';\n' : ` word${index}`, probability: 0.5 };
    const opinions = exits.map((exit, i) => ({
      exit,
      layer: 2 * i + 2,
      confidence: 0.5,
      token,
      candidates: [token, { ...token, text: '\u001b[1m' }],
    }));
    return { sequence: 0, index, id: index, text: token.text, layer: 4, exit: '4:mlp', confidence: 0.93, opinions };
  });
  const trace = {
    model: 'tiny',
    layers: 6,
    exits,
    policy: 'confidence 0.8',
    prompt: 'let',
    stop: 'length' as const,
    tokens,
  };
  writeFileSync(path.join(made, 'sample.exittrace'), serialiseTrace(trace));
  return made;
}

/** Small settings of `tune`: seconds, with everything that a long run has. */
export const smallTuning = {
  exits: '4:mlp,8:lens',
  shortlist: 200,
  sequenceLength: 64,
  batchSize: 2,
  heldOutFraction: 0.4,
  evaluationTokens: 64,
  fitTokens: 512,
  steps: 16,
  evaluateEvery: 5,
  threads: 1,
  device: 'cpu',
  exitDevice: 'cpu',
} as const;

/** A folder with a tiny `model` and exits of it in `model.exits`; once `makeExits` has made it. */
export const exitsFolder = (folder: string): string => path.join(folder, 'with-exits');

/** Tunes the exits, and calibrates them as no calibration would: all are asked, all have a gate. */
export async function makeExits(folder: string, program: Program): Promise<void> {
  const made = exitsFolder(folder);
  if (existsSync(made)) return;
  const [model, out] = [path.join(made, 'model'), path.join(made, 'model.exits')];
  cpSync(modelFolder(folder, 'llama-untied'), model, { recursive: true });
  const data = path.join(textFolder(folder), 'errors.ts');
  const options = { ...smallTuning, exits: '2:mlp,3:lens', steps: 4, shortlist: 32, model, data, out };
  const { code, err } = await runProgram(program, ['tune', ...wordsOf(options)], { cwd: made });
  if (code !== 0) throw new Error(`the exits to try upon could not be tuned: ${err}`);
  const file = path.join(out, 'exits.json');
  const info = JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>;
  const gate = { weights: Buffer.from(new Float32Array(64).fill(0.01).buffer).toString('base64'), bias: 1, least: 0.1 };
  const calibration = {
    step: 4,
    agreement: 0.9,
    thresholds: { '2:mlp': 0.5, '3:lens': 0.5 },
    gates: { '2:mlp': gate, '3:lens': gate },
  };
  writeFileSync(file, JSON.stringify({ ...info, calibration }, null, 2));
}

/** Exits of the model that ships, by a run that nothing disturbed; once `makeShippedExits` has made them. */
export const shippedExits = (folder: string): string => path.join(folder, 'whole.exits');

/** The words of that run, written elsewhere; or of going on with it to its own end, which wants no steps: they would come on top. */
export function shippedTuning(folder: string, out: string, resume = false): string[] {
  const { steps, ...settings } = smallTuning;
  const data = path.join(textFolder(folder), '*.ts');
  const own = resume ? { resume } : { steps };
  return ['tune', ...wordsOf({ ...settings, ...own, model: shippedModel, data, out })];
}

/** Makes them, once; returns the seconds that a run takes here. */
export async function makeShippedExits(folder: string, program: Program): Promise<number> {
  const out = shippedExits(folder);
  const clock = `${out}.seconds`;
  if (existsSync(clock)) return Number(readFileSync(clock, 'utf8'));
  const { code, err, seconds } = await runProgram(program, shippedTuning(folder, out), { cwd: folder });
  if (code !== 0) throw new Error(`tuning failed though nothing disturbed it: ${err}`);
  writeFileSync(clock, String(seconds));
  return seconds;
}

/** Files of a run that are the same bytes whatever happened to it in between. */
export const lastingFiles = ['exits.safetensors', 'metrics.jsonl'];

/** Which of them differ. */
export const differences = (out: string, folder: string): string[] =>
  lastingFiles.filter(
    (file) => !readFileSync(path.join(out, file)).equals(readFileSync(path.join(shippedExits(folder), file))),
  );

/** Options as a person writes them on the command line. */
export const wordsOf = (options: Readonly<Record<string, unknown>>): string[] =>
  Object.entries(options).flatMap(([name, value]) => {
    if (value === true) return [flagName(name)];
    return (Array.isArray(value) ? (value as unknown[]) : [value]).map((item) => `${flagName(name)}=${String(item)}`);
  });
