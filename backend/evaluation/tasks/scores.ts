/** Results of an evaluation: each way's score beside full depth's, the exits at which its tokens left, and its speed. Pure. */
import { fullDepth, type TaskScores, type WayScore } from '../../../protocol/tasks.ts';
import { isOn, type AnswerLine, type Evaluation, type TimesLine } from './record.ts';
import { mean, pairedDifference, sum, timesAsFast, verdictOf } from './statistics.ts';

/**
 * The scores of a set by way, only of the requested ways and sets; differences over the tasks that both the way and full depth have
 * answered, and speeds only where the last sitting ran.
 */
export function scoresOf({ about, identity, answers, times }: Evaluation): TaskScores[] {
  return Object.entries(about.sets).map(([set, asked]) => {
    const own = answers.filter((line) => line.set === set);
    const byWay = new Map<string, Map<string, AnswerLine>>();
    for (const line of own) {
      if (!byWay.has(line.way)) byWay.set(line.way, new Map());
      byWay.get(line.way)!.set(line.task, line);
    }
    const full = byWay.get(fullDepth) ?? new Map<string, AnswerLine>();
    const timed = times.filter((line) => line.set === set && isOn(about, line));
    const done = about.ways.filter((way) => byWay.has(way));
    return {
      set,
      asked,
      layers: identity.layers,
      ways: done.map((way) => scoreOf(way, byWay.get(way)!, full, timed, about.margin)),
    };
  });
}

function scoreOf(
  way: string,
  lines: ReadonlyMap<string, AnswerLine>,
  full: ReadonlyMap<string, AnswerLine>,
  times: readonly TimesLine[],
  margin: number,
): WayScore {
  const all = [...lines.values()];
  const tokens = sum(all.map((line) => line.tokens));
  const isFull = way === fullDepth;
  const both = all.filter(({ task }) => full.has(task));
  const difference =
    isFull || both.length === 0
      ? null
      : pairedDifference(
          both.map(({ score }) => score),
          both.map(({ task }) => full.get(task)!.score),
        );
  // A task that was timed again, as with further ways, counts once.
  const timed = new Map(times.filter(({ ways }) => way in ways && fullDepth in ways).map((line) => [line.task, line]));
  const pairs = [...timed.values()]
    .map(({ ways }) => ({ own: ways[way]!, other: ways[fullDepth]! }))
    .filter(({ own, other }) => own.tokens > 0 && other.tokens > 0);
  return {
    way,
    tasks: all.length,
    score: mean(all.map(({ score }) => score)),
    same: both.length === 0 ? null : mean(both.map(({ task, answer }) => (full.get(task)!.answer === answer ? 1 : 0))),
    difference: difference && { ...difference, verdict: verdictOf(difference, margin / 100) },
    tokens,
    meanLayer: tokens === 0 ? null : sum(all.map((line) => line.layers)) / tokens,
    left: shares(all, tokens),
    speed: isFull || pairs.length < 2 ? null : { ...timesAsFast(pairs), texts: pairs.length },
    tokensPerSecond:
      pairs.length === 0 ? null : sum(pairs.map(({ own }) => own.tokens)) / sum(pairs.map(({ own }) => own.seconds)),
  };
}

/** Share of all tokens by exit and kind. */
function shares(lines: readonly AnswerLine[], tokens: number): WayScore['left'] {
  const left: Record<string, Record<string, number>> = {};
  for (const line of lines)
    for (const [exit, kinds] of Object.entries(line.left))
      for (const [kind, count] of Object.entries(kinds)) {
        const own = (left[exit] ??= {});
        own[kind] = (own[kind] ?? 0) + count / tokens;
      }
  return left;
}
