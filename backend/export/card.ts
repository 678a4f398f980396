/** The card of a plain model: its base and its exit, its quality, and how other programs load it. */
import type { ExitScore } from '../../protocol/events.ts';
import { basename } from 'node:path';
import { exitId, shortlistOf } from '../exits/spec.ts';
import { cardTag } from '../formats/our-folders.ts';
import { plural } from '../../protocol/plural.ts';
import { shown } from '../../protocol/shown.ts';
import type { Model } from '../model/open.ts';
import type { PlainFormat } from './families.ts';
import { licenceOf } from './licence.ts';
import type { PlainModel } from './plain-model.ts';

export interface CardFacts {
  readonly model: Pick<Model, 'spec' | 'stored' | 'path'>;
  /** The base's name without an ending. */
  readonly base: string;
  readonly name: string;
  /** Name of the folder, if a Hugging Face directory is written. */
  readonly folder: string;
  readonly format: PlainFormat;
  readonly plain: PlainModel;
  /** By exit, on held-out text. */
  readonly scores: readonly ExitScore[];
  readonly purpose: 'model' | 'draft';
  readonly quantised: string | null;
  /** What the exit was tuned on, as the options of its run name it, and how many tokens of it. */
  readonly data: readonly string[];
  readonly tokens: number;
}

export function plainCard(facts: CardFacts): string {
  const { model, base, name, plain, quantised, format } = facts;
  const id = exitId(plain.exit);
  const changed = [
    ...new Set([...plain.parameters.keys()].map((parameter) => parameter.replace(/\.(weight|bias)$/, ''))),
  ];
  const licence = licenceOf(model);
  return `---
${licence === null ? '' : `license: ${licence}\n`}library_name: ${format === 'hf' ? 'transformers' : 'llama.cpp'}
${cardTag}
---
# ${name}

The exit \`${id}\` of ${base}, as a model of its own: ${plain.layers} of ${model.spec.layers.length} layers. The layers are the
base's, unchanged${quantised === null ? '' : `, in ${quantised} if they were not quantised`}; ${changed.map((each) => `\`${each}\``).join(', ')} ${changed.length === 1 ? 'is' : 'are'} the exit's own.

Base: ${base} (${model.spec.family}). ${licence === null ? 'Its licence, which its files do not name, holds for this model, too.' : `Its licence, ${licence}, holds for this model, too.`}
${dataLine(facts)}${scoreLines(facts.scores, id)}${rowsLine(plain)}
${usage(facts)}`;
}

const dataLine = ({ data, tokens }: CardFacts): string =>
  data.length === 0
    ? ''
    : `\nData: ${data.map((each) => `\`${shown(basename(each), { limit: 100 })}\``).join(', ')}${tokens === 0 ? '' : `, of which the exit saw ${plural(tokens, 'token')}`}.\n`;

const rowsLine = ({ borrowsRows, exit }: PlainModel): string =>
  borrowsRows
    ? `\nThe head is the exit's for ${plural(shortlistOf(exit)!.length, 'token')}, and the base's own for all others, which share one probability in the exit.\n`
    : '';

function scoreLines(scores: readonly ExitScore[], id: string): string {
  const own = scores.find(({ exit }) => exit === id);
  const final = scores.find(({ exit }) => exit === 'final');
  if (!own || !final) return '';
  const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;
  return `
On text that was held out from tuning the exit's loss is ${own.loss.toFixed(3)} nats a token, the base's ${final.loss.toFixed(3)}; they agree on ${percent(own.agreement)} of the tokens.
`;
}

function usage({ name, folder, format, purpose, base }: CardFacts): string {
  if (purpose === 'draft')
    return format === 'gguf'
      ? `As the draft of speculative decoding in llama.cpp (versions that do not know \`--spec-type\` draft without it):

    llama-server -m ${base}.gguf -md ${name}.gguf --spec-type draft-simple
`
      : `As the draft of speculative decoding in vLLM:

    vllm serve ${base} --speculative-config '{"method": "draft_model", "model": "./${folder}", "num_speculative_tokens": 5}'
`;
  return format === 'gguf'
    ? `With llama.cpp:

    llama-cli -m ${name}.gguf -p "…"

With Ollama, a \`Modelfile\` that says \`FROM ./${name}.gguf\`.
`
    : `With Transformers:

    model = AutoModelForCausalLM.from_pretrained("./${folder}")

With vLLM: \`vllm serve ./${folder}\`.
`;
}
