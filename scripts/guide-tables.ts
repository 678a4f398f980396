/** Tables and sentences of the guide, out of kept runs. Pure. */
import type { Spread, SweptGroup } from '../protocol/events.ts';
import { inPercent, spreadText } from '../protocol/spread-text.ts';
import { pointsRange, speedText, verdictText, type WayScore } from '../protocol/tasks.ts';
import { plural } from '../protocol/plural.ts';
import { markdown } from '../backend/evaluation/report/formats.ts';
import type { KeptGroup, SweepStudy, TasksStudy } from './study.ts';

type Exit = SweptGroup['exits'][number];

/** With fewer seeds the deviations themselves are too uncertain to call a gap between means clear. */
const fewestSeeds = 3;

/** Whether one mean is above another by more than chance makes likely. */
export const isClearGap = (higher: Spread, lower: Spread, seeds: number): boolean =>
  seeds >= fewestSeeds && higher.mean - lower.mean > 2 * Math.hypot(higher.deviation, lower.deviation);

/** Whether exits tell groups apart, or the groups' names do. */
const isNamedByExits = ({ groups }: SweepStudy): boolean =>
  groups.length === 1 ||
  new Set(groups.map(({ exits }) => exits.map(({ exit }) => exit).join())).size === groups.length;

/** `final`: whether the model's own loss is shown, too. */
export function sweepTable(study: SweepStudy, { final = false } = {}): string {
  const { model, layers, processor, options, groups } = study;
  const named = !isNamedByExits(study);
  const hasCost = groups.every(({ teraflops }) => teraflops !== null);
  const rows = groups.flatMap((group) => group.exits.map((exit) => rowOf(group, exit, { named, final, hasCost })));
  const head = [
    ...(named ? ['run'] : []),
    'exit',
    'loss',
    'agreement, %',
    ...(final ? ['loss of the final exit'] : []),
    'tokens',
    ...(hasCost ? ['TFLOP'] : []),
    'seeds',
  ];
  const ends = final ? '' : `, final exit ${groups[0]!.final.mean.toFixed(3)}`;
  return `${model}, ${layers} layers${ends}; ${sharedText(options)}; ${processor}.\n\n${markdown({ head, rows })}`.trimEnd();
}

const sharedText = (options: SweepStudy['options']): string =>
  Object.entries(options)
    .map(([key, value]) => `${key} ${String(value)}`)
    .join(', ');

/** How often the exits of each group agree with the final exit on every text. */
export function elsewhereTable({ model, layers, processor, options, groups }: SweepStudy): string {
  const texts = groups[0]?.on?.map(({ text }) => text) ?? [];
  const rows = groups.flatMap(({ name, seeds, exits, on = [] }) =>
    exits.map(({ exit }, at) => [
      name,
      `\`${exit}\``,
      ...on.map((one) => spreadText(inPercent(one.exits[at]!.agreement), 1, seeds)),
      String(seeds),
    ]),
  );
  const head = ['tuned on', 'exit', ...texts.map((text) => `agreement on \`${text}\`, %`), 'seeds'];
  return `${model}, ${layers} layers; ${sharedText(options)}; ${processor}.\n\n${markdown({ head, rows })}`.trimEnd();
}

function rowOf(
  { name, seeds, tokens, teraflops, final: ownFinal }: KeptGroup,
  { exit, loss, agreement }: Exit,
  { named, final, hasCost }: { readonly named: boolean; readonly final: boolean; readonly hasCost: boolean },
): string[] {
  return [
    ...(named ? [name] : []),
    `\`${exit}\``,
    spreadText(loss, 3, seeds),
    spreadText(inPercent(agreement), 1, seeds),
    ...(final ? [spreadText(ownFinal, 3, seeds)] : []),
    tokens.mean.toFixed(0),
    ...(hasCost ? [teraflops!.mean.toPrecision(3)] : []),
    String(seeds),
  ];
}

/** Which group agreed most often with the final exit at each depth. */
export function comparedText(study: SweepStudy): string {
  const { groups } = study;
  const seeds = Math.min(...groups.map((group) => group.seeds));
  if (seeds < 2)
    return 'With one seed each, differences of a few points may be chance: more seeds are needed to tell an order.';
  const named = !isNamedByExits(study);
  const clauses = groups[0]!.exits.map((_, at) => {
    const [best, second] = groups
      .map(({ name, exits }) => ({ called: named ? name : `\`${exits[at]!.exit}\``, ...exits[at]! }))
      .sort((a, b) => b.agreement.mean - a.agreement.mean);
    if (!best || !second) return '';
    const text = ({ agreement }: Exit): string => `${spreadText(inPercent(agreement), 1, seeds)} %`;
    const isClear = isClearGap(best.agreement, second.agreement, seeds);
    const before =
      seeds < fewestSeeds ? 'more often than' : isClear ? 'clearly more often than' : 'not clearly more often than';
    const where = named ? `at \`${best.exit}\` ${best.called}` : best.called;
    return `${where} agrees most often with the final exit (${text(best)}), ${before} ${second.called} (${text(second)})`;
  });
  return `Here ${clauses.join('; ')}.${seeds < fewestSeeds ? ` With ${seeds} seeds each, this was observed, but does not prove an order.` : ''}`;
}

/** Scores beside full depth, and measured speed. */
export function judgedText({ model, exits, processor, margin, layers, sets }: TasksStudy): string {
  return sets
    .map(({ set, ways, asked }) => {
      const isTimed = ways.some(({ speed }) => speed !== null);
      const rows = ways.map(({ way, score, difference, meanLayer, speed, same }) => [
        way,
        (100 * score).toFixed(1),
        difference ? pointsRange(difference) : '',
        difference ? verdictText(difference.verdict) : '',
        same === null ? '' : (100 * same).toFixed(0),
        meanLayer === null ? '' : meanLayer.toFixed(1),
        ...(isTimed ? [speed ? speedText(speed) : ''] : []),
      ]);
      const head = [
        'way',
        'score',
        'difference, 95 %',
        'verdict',
        'same answer, %',
        'mean layer',
        ...(isTimed ? ['speed, × full'] : []),
      ];
      const kinds = kindsText(ways);
      return `${model}, ${layers} layers, exits ${exits.join(', ')}; ${asked} tasks of ${set}; _not worse_: at most ${plural(margin, 'point')} worse, with 95 % certainty; ${isTimed ? `speed per token, one text at a time, ways in turn, on ${processor}` : 'speed was not measured, since the machine was busy'}.\n\n${markdown({ head, rows })}${kinds === '' ? '' : `\n${kinds}`}`.trimEnd();
    })
    .join('\n\n');
}

/** Shares by kind of token that left before the final exit, of the way in which most did. */
function kindsText(ways: readonly WayScore[]): string {
  const earlyOf = ({ left }: WayScore, kind: string): { early: number; all: number } => {
    const of = (exits: readonly string[]): number => exits.reduce((sum, exit) => sum + (left[exit]?.[kind] ?? 0), 0);
    const exits = Object.keys(left);
    return { early: of(exits.filter((exit) => exit !== 'final')), all: of(exits) };
  };
  const kindsOf = (way: WayScore): string[] => [...new Set(Object.values(way.left).flatMap(Object.keys))];
  const early = (way: WayScore): number => kindsOf(way).reduce((sum, kind) => sum + earlyOf(way, kind).early, 0);
  // In lossless no token leaves early: drafts of the exits were verified.
  const most = ways.filter(({ way }) => way !== 'lossless').sort((a, b) => early(b) - early(a))[0];
  if (!most || early(most) === 0) return '';
  const shares = kindsOf(most)
    .map((kind) => ({ kind, ...earlyOf(most, kind) }))
    .filter(({ all }) => all >= 0.01)
    .sort((a, b) => b.early / b.all - a.early / a.all)
    .map(({ kind, early: some, all }) => `${kind} ${Math.round((100 * some) / all)} %`);
  return `Share of each kind of token that left early at ${most.way}: ${shares.join(', ')}.`;
}
