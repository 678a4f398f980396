/** The model card in a checkpoint directory: the exits and their quality. */
import { plural } from '../../protocol/plural.ts';
import type { ExitScore } from '../../protocol/events.ts';
import { exitId, type ExitSpec } from '../exits/spec.ts';
import type { CheckpointInfo, Origin, Progress } from './checkpoint.ts';

export function modelCard(
  { base, exits, tuning }: CheckpointInfo,
  { step, tokens, scores, origins = {} }: Progress,
): string {
  const byId = new Map(scores.map((score) => [score.exit, score]));
  const rows = exits.map((exit) => {
    const id = exitId(exit);
    return row(id, exit.layer, headText(exit), originText(origins[id] ?? step), byId.get(id));
  });
  const { continuePretraining } = tuning;
  const isWhole = typeof continuePretraining === 'string';
  const final = byId.get('final');
  if (final) rows.push(row('final', final.layer, "the model's own", '', final));
  return `# Early exits of ${base.name}

Tuned with Early Exit on ${base.name} (${base.family}, ${base.layers} layers, hidden size ${base.hidden}, vocabulary
${base.vocabulary}). The model itself is not here and ${isWhole ? 'was trained together with them' : 'was not changed'}; its weights have the SHA-256
\`${base.sha256}\`, and no others fit.

After ${plural(step, 'update')} on ${plural(tokens, 'token')}, on held-out text:

| exit | layer | head | from | loss | perplexity | accuracy | agreement |
|---|---|---|---|---|---|---|---|
${rows.join('\n')}

Loss is in nats a token. Accuracy: how often the most probable token is the true next one. Agreement: how often it is the
final exit's. From: ${isWhole ? 'all are of one moment, the best of all together on this text' : 'each exit is the best of its own on this text, its start among them'}. A shortlisted head gives the tokens outside its list an even share of its defer class.

To generate with them:

    early-exit generate --model ${base.name} --exits <this folder> --prompt "…"

Files: \`exits.json\` (what the exits are), \`exits.safetensors\` (their parameters), \`metrics.jsonl\` (a line a step and an
evaluation), \`state/\` (the optimiser's state, with which \`early-exit tune --resume\` goes on; the exits work without it).
`;
}

function row(id: string, layer: number, head: string, origin: string, score: ExitScore | undefined): string {
  const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;
  const numbers = score
    ? [score.loss.toFixed(3), score.perplexity.toFixed(1), percent(score.accuracy), percent(score.agreement)]
    : ['–', '–', '–', '–'];
  return `| ${[id, layer, head, origin, ...numbers].join(' | ')} |`;
}

const originText = (origin: Origin): string => (typeof origin === 'number' ? `update ${origin}` : `the ${origin}`);

const headText = ({ head }: ExitSpec): string =>
  head.kind === 'shortlist'
    ? `own, ${plural(head.tokens.length, 'token')}`
    : head.kind === 'own'
      ? 'own'
      : "the model's";
