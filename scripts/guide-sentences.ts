/** What kept sweeps say beyond which run was best, as sentences. Pure: every word that depends on a figure is chosen by it. */
import type { Spread } from '../protocol/events.ts';
import { plural } from '../protocol/plural.ts';
import { pointsText } from '../protocol/tasks.ts';
import { isClearGap } from './guide-tables.ts';
import type { KeptGroup, SweepStudy } from './study.ts';

/** From the fewest trainable parameters to the most. */
const bySize = ['embedding', 'norm', 'lens', 'mlp', 'layer'];

const layerOf = (exit: string): number => Number(exit.split(':')[0]);
const architectureOf = (exit: string): string => exit.split(':')[1]!;
/** 3.2 points, of a share. */
const points = (share: number): string => (100 * share).toFixed(1);
/** `a`, `a and b`, `a, b and c`. */
const listed = (names: readonly string[]): string =>
  names.length < 2 ? names.join('') : `${names.slice(0, -1).join(', ')} and ${names.at(-1)!}`;

/** Whether an architecture with more parameters is the better one at each depth, after so few updates. */
export function parametersText({ groups }: SweepStudy): string {
  const ordered = [...groups].sort((a, b) => bySize.indexOf(nameOf(a)) - bySize.indexOf(nameOf(b)));
  const behind = ordered.slice(1).flatMap((group, i) => {
    const smaller = ordered[i]!;
    const layers = group.exits
      .filter(({ agreement }, at) => isClearGap(smaller.exits[at]!.agreement, agreement, seedsOf(groups)))
      .map(({ exit }) => String(layerOf(exit)));
    return layers.length === 0
      ? []
      : [
          `\`${nameOf(group)}\` falls behind \`${nameOf(smaller)}\` at ${layers.length === 1 ? 'layer' : 'layers'} ${listed(layers)}`,
        ];
  });
  const seen = plural(ordered[0]!.tokens.mean, 'token');
  return behind.length === 0
    ? `After ${seen} no architecture is clearly behind one with fewer parameters.`
    : `After ${seen} more parameters do not pay everywhere: ${listed(behind)}.`;
}

const nameOf = ({ exits }: KeptGroup): string => architectureOf(exits[0]!.exit);
const seedsOf = (groups: readonly KeptGroup[]): number => Math.min(...groups.map(({ seeds }) => seeds));

/** Between which exits agreement rises most, a layer. */
export function riseText({ groups, layers }: SweepStudy): string {
  const exits = groups[0]!.exits;
  const rises = exits.slice(1).map((exit, i) => {
    const before = exits[i]!;
    const [from, to] = [layerOf(before.exit), layerOf(exit.exit)];
    return { from, to, gain: (exit.agreement.mean - before.agreement.mean) / (to - from) };
  });
  const most = rises.toSorted((a, b) => b.gain - a.gain)[0];
  if (!most) return '';
  return `Agreement rises most between layers ${most.from} and ${most.to} of ${layers}: ${points(most.gain)} points per layer.`;
}

/** What more tokens brought, from each group to the one with the next number of tokens. */
export function tokensText({ groups }: SweepStudy): string {
  const ordered = [...groups].sort((a, b) => a.tokens.mean - b.tokens.mean);
  const steps = ordered.slice(1).map((group, i) => {
    const before = ordered[i]!;
    const gains = group.exits.map(({ agreement }, at) => agreement.mean - before.exits[at]!.agreement.mean);
    return { factor: group.tokens.mean / before.tokens.mean, gains };
  });
  if (steps.length === 0) return '';
  const all = steps.flatMap(({ gains }) => gains);
  const factors = [...new Set(steps.map(({ factor }) => factor.toFixed(0)))].join(' or ');
  // Where the last step brought less than half of the one before, more tokens hardly pay.
  const levels = (steps.at(-1)?.gains ?? []).filter(
    (gain, at) => steps.length > 1 && gain < steps.at(-2)!.gains[at]! / 2,
  );
  const end =
    levels.length === 0
      ? `nothing has levelled off at ${plural(ordered.at(-1)!.tokens.mean, 'token')}`
      : `${levels.length} of ${plural(steps.at(-1)!.gains.length, 'exit')} levelled off by ${plural(ordered.at(-1)!.tokens.mean, 'token')}`;
  return `${factors} times as many tokens brought ${points(Math.min(...all))} to ${points(Math.max(...all))} points of agreement, and ${end}.`;
}

/** Each other group beside the first, at each exit. */
export function besideFirstText({ groups }: SweepStudy): string {
  const [first, ...others] = groups;
  if (!first || others.length === 0) return '';
  const clauses = others.map((group) => {
    const changes = group.exits.map(({ exit, agreement }, at) => {
      const before = first.exits[at]!.agreement;
      const change = agreement.mean - before.mean;
      const seeds = seedsOf(groups);
      const isClear = isClearGap(before, agreement, seeds) || isClearGap(agreement, before, seeds);
      return `${pointsText(change)} points at \`${exit}\` (${isClear ? 'clearly' : 'not clearly'})`;
    });
    return `${group.name}: ${listed(changes)}`;
  });
  const isBetter = others.some(({ exits }) =>
    exits.some(({ agreement }, at) => isClearGap(agreement, first.exits[at]!.agreement, seedsOf(groups))),
  );
  return `${isBetter ? 'Some run is' : 'No run is'} clearly better than ${first.name}. Compared with it, ${clauses.join('; ')}.`;
}

/** Which run led at each exit, of every model: whether models agree in it. */
export function acrossText(studies: readonly SweepStudy[]): string {
  if (studies.length < 2) return '';
  const leaders = studies.map((study) => {
    const names = [...new Set(study.groups[0]!.exits.map((_, at) => leaderAt(study, at).name))];
    const isClear = study.groups[0]!.exits.every((_, at) => leaderAt(study, at).isClear);
    const tokens = plural(Math.max(...study.groups.map((group) => group.tokens.mean)), 'token');
    return { names: listed(names), where: `on ${study.model} (${tokens}${isClear ? '' : ', not clearly'})` };
  });
  const isSame = new Set(leaders.map(({ names }) => names)).size === 1;
  return isSame
    ? `Models agree: ${leaders[0]!.names} leads ${listed(leaders.map(({ where }) => where))}.`
    : `Models differ: ${leaders.map(({ names, where }) => `${names} leads ${where}`).join(', ')}.`;
}

/** Called by its architecture if that is what groups differ in. */
function leaderAt({ groups }: SweepStudy, at: number): { name: string; isClear: boolean } {
  const of = (group: KeptGroup): Spread => group.exits[at]!.agreement;
  const [best, second] = groups.toSorted((a, b) => of(b).mean - of(a).mean);
  const isByArchitecture = new Set(groups.map(nameOf)).size === groups.length;
  return {
    name: isByArchitecture ? `\`${nameOf(best!)}\`` : best!.name,
    isClear: second === undefined || isClearGap(of(best!), of(second), seedsOf(groups)),
  };
}
