/** Tuning on PyTorch: the launcher, the mesh of ranks, and a plan of both. */
import { notation, optionalInteger, optionalText } from './kinds.ts';

/** The launcher of PyTorch. `hosts` are the machines that take part; none: only this machine. */
export type Place =
  | { readonly kind: 'here' }
  | { readonly kind: 'torchrun'; readonly hosts: readonly string[] }
  | { readonly kind: 'ray'; readonly url: string }
  | { readonly kind: 'slurm' };

/** Ranks along pipeline, data and tensor parallelism; `shard`: frozen weights are sharded over data parallel ranks. */
export interface Mesh {
  readonly pp: number;
  readonly dp: number;
  readonly tp: number;
  readonly shard: boolean;
}

const placeNotation = 'here, torchrun, torchrun:HOST,…, ray:URL or slurm';
const meshNotation = 'auto, or ranks such as pp=2,dp=2,tp=1, with ,shard for frozen weights that do not fit';

/** Host names and addresses as a shell and ssh take them: nothing that could be read as an option or a command. */
const host = /^[A-Za-z0-9][A-Za-z0-9._-]*$/;

/** Null if the text is no place. */
export function parsePlace(text: string): Place | null {
  const [kind, rest] = [text.split(':', 1)[0], text.includes(':') ? text.slice(text.indexOf(':') + 1) : null];
  if ((kind === 'here' || kind === 'slurm') && rest === null) return { kind };
  if (kind === 'torchrun') {
    const hosts = rest === null ? [] : rest.split(',').map((each) => each.trim());
    return hosts.every((each) => host.test(each)) ? { kind, hosts } : null;
  }
  if (kind !== 'ray' || rest === null || !URL.canParse(rest)) return null;
  const { protocol, username, password } = new URL(rest);
  return /^https?:$/.test(protocol) && !username && !password ? { kind, url: rest.replace(/\/+$/, '') } : null;
}

export function placeText(place: Place): string {
  switch (place.kind) {
    case 'torchrun':
      return place.hosts.length ? `torchrun:${place.hosts.join(',')}` : 'torchrun';
    case 'ray':
      return `ray:${place.url}`;
    case 'here':
    case 'slurm':
      return place.kind;
  }
}

/** `auto` is null inside a record, because null itself means that the text is no mesh. */
export function parseMesh(text: string): { readonly mesh: Mesh | null } | null {
  if (text.trim() === 'auto') return { mesh: null };
  const sizes: Record<string, number> = {};
  let shard = false;
  for (const word of text.split(',').map((each) => each.trim())) {
    const [, name, size] = /^(pp|dp|tp)=(\d{1,5})$/.exec(word) ?? [];
    if (word === 'shard' && !shard) shard = true;
    else if (name && Number(size) > 0 && !(name in sizes)) sizes[name] = Number(size);
    else return null;
  }
  return { mesh: { pp: sizes['pp'] ?? 1, dp: sizes['dp'] ?? 1, tp: sizes['tp'] ?? 1, shard } };
}

export const meshText = ({ pp, dp, tp, shard }: Mesh): string => `pp=${pp},dp=${dp},tp=${tp}${shard ? ',shard' : ''}`;

export const ranksOf = ({ pp, dp, tp }: Mesh): number => pp * dp * tp;

export const placeOptions = {
  on: notation<Place>({
    advanced: true,
    default: 'here',
    scope: 'machine-overridable',
    placeholder: 'PLACE',
    expected: placeNotation,
    parse: parsePlace,
    help: `Where exits are tuned: in this program, or on PyTorch, started by torchrun on this machine or on other hosts, as a job of Ray, or by a script for Slurm. Written as ${placeNotation}.`,
  }),
  mesh: notation<{ readonly mesh: Mesh | null }>({
    advanced: true,
    default: 'auto',
    scope: 'window',
    placeholder: 'MESH',
    expected: meshNotation,
    parse: parseMesh,
    help: `How ranks of PyTorch divide the work: by stages of layers (pp), windows (dp) and parts of layers (tp). Written as ${meshNotation}.`,
  }),
  modelThere: optionalText({
    advanced: true,
    scope: 'machine-overridable',
    help: 'Where ranks of PyTorch find the model, if not at its path here: a folder there, or a name on the Hugging Face hub.',
  }),
  plan: optionalInteger({
    advanced: true,
    minimum: 1,
    maximum: 100_000,
    help: 'Tune nothing: estimate mesh, memory, traffic and hours on this number of GPUs.',
  }),
};
