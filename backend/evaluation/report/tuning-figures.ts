/** Figures of tuning runs: losses during the run, scores at its end, and its cost; over seeds if there are several. Pure. */
import { exitShade } from '../../../protocol/palette.ts';
import type { ExitScore } from '../../../protocol/events.ts';
import { plural } from '../../../protocol/plural.ts';
import { inPercent, spreadText } from '../../../protocol/spread-text.ts';
import { calibrationError } from '../reliability.ts';
import { pretrainingTokens, trainingFlops, tuningFlops } from './cost.ts';
import { seriesShade, slug, type Figure, type Point } from './figure.ts';
import { groupsOf, spreadOf, sweptGroup, type Group } from './groups.ts';
import type { TuningRun } from './runs.ts';

export function runFigures(run: TuningRun): Figure[] {
  const id = slug(run.name);
  const end = run.scores;
  return [
    ...(run.evaluations.length > 1 ? [losses(run, id)] : []),
    {
      id: `${id}-exits`,
      title: 'Exits',
      note: 'On held-out text; loss in nats a token, agreement with the final exit.',
      kind: 'table',
      head: ['exit', 'layer', 'loss before', 'loss', 'agreement before', 'agreement', 'accuracy'],
      rows: end.map((score) => {
        const before = run.before.find(({ exit }) => exit === score.exit);
        const isFinal = score.exit === 'final';
        return [
          score.exit,
          String(score.layer),
          before && !isFinal ? before.loss.toFixed(3) : '',
          score.loss.toFixed(3),
          before && !isFinal ? share(before.agreement) : '',
          isFinal ? '' : share(score.agreement),
          share(score.accuracy),
        ];
      }),
    },
    ...(end.some(({ reliability: bins }) => bins?.length) ? [reliability(run, id)] : []),
    costTable([{ name: run.name, runs: [run] }], `${id}-cost`),
  ];
}

/** How often exits are right at each confidence, and the number of tokens behind each figure. */
const reliability = ({ exits, scores }: TuningRun, id: string): Figure => ({
  id: `${id}-reliability`,
  title: 'Reliability of confidences',
  note: `Held-out tokens by confidence, and the share of them on which the exit agrees with the final one. On the diagonal an exit is as often right as it is sure. Mean distance from it: ${scores
    .flatMap(({ exit, reliability: bins }) => (bins?.length ? [`${exit} ${share(calibrationError(bins))}`] : []))
    .join(', ')}.`,
  kind: 'lines',
  x: 'confidence',
  y: 'agreement',
  series: [
    { name: 'diagonal', shade: 'text', isLine: true, points: [0, 1].map((each) => ({ x: each, y: each })) },
    ...scores.flatMap(({ exit, reliability: bins }) =>
      bins?.length
        ? [
            {
              name: exit,
              shade: exitShade(exit, exits),
              isLine: true,
              points: bins.map(({ tokens, confidence, agreement }) => ({
                x: confidence,
                y: agreement,
                label: plural(tokens, 'token'),
              })),
            },
          ]
        : [],
    ),
  ],
});

/** The mean of each group's runs. Blank if a run has no value. */
function costTable(groups: readonly Group[], id: string): Figure {
  const rows = groups.map(({ name, runs }) => {
    const of = (value: (run: TuningRun) => number | null): number | null => {
      const values = runs.map(value);
      return values.includes(null) ? null : spreadOf(values as number[]).mean;
    };
    const flops = of(({ cost, tokens }) => (cost ? tuningFlops(cost.numbers, tokens) : null));
    const before = pretrainingTokens(runs[0]!.model);
    const training = of(({ cost }) => (cost && before ? trainingFlops(cost.numbers, before) : null));
    const peak = of(({ cost }) => cost?.peakBytes ?? null);
    const tokens = of((run) => run.tokens)!;
    return [
      name,
      of((run) => run.updates)!.toFixed(0),
      tokens.toFixed(0),
      of((run) => run.seconds / 60)!.toFixed(1),
      flops === null ? '' : (flops / 1e12).toPrecision(3),
      before === null ? '' : shareText(tokens / before),
      flops === null || training === null ? '' : shareText(flops / training),
      peak === null ? '' : `${(peak / 2 ** 20).toFixed(0)} MiB`,
    ];
  });
  return {
    id,
    title: 'Cost',
    note: "Minutes: working time of all sittings. TFLOP: matrix products of the frozen model (forwards, as if no state came from the cache) and of the exits; attention is left out. Share of the model's training: by the number of tokens that its authors give, at six operations a parameter and token. Memory: the peak of the process, earlier runs in it included.",
    kind: 'table',
    head: [
      'run',
      'updates',
      'tokens seen',
      'minutes',
      'TFLOP',
      "share of the model's training, tokens",
      "share of the model's training, operations",
      'memory',
    ],
    rows,
  };
}

/** Two figures of a percentage, however small. */
const shareText = (value: number): string => {
  const percent = 100 * value;
  return `${percent >= 0.01 ? percent.toPrecision(2) : percent.toExponential(1)} %`;
};

const share = (value: number): string => `${(100 * value).toFixed(1)} %`;

function losses({ evaluations, exits, scores }: TuningRun, id: string): Figure {
  const final = scores.find(({ exit }) => exit === 'final');
  return {
    id: `${id}-held-out-loss`,
    title: 'Held-out loss',
    note: 'Nats a token, over target tokens seen.',
    kind: 'lines',
    x: 'tokens',
    y: 'loss',
    ...(final && { level: { name: 'final exit', y: final.loss } }),
    series: exits.map((exit) => ({
      name: exit,
      shade: exitShade(exit, exits),
      isLine: true,
      points: pointsOf(evaluations, exit, ({ loss }) => loss),
    })),
  };
}

const pointsOf = (evaluations: TuningRun['evaluations'], exit: string, value: (score: ExitScore) => number): Point[] =>
  evaluations.flatMap(({ tokens, scores }) => {
    const own = scores.find((score) => score.exit === exit);
    return own ? [{ x: tokens, y: value(own) }] : [];
  });

/** Two or more runs beside each other. */
export function comparison(runs: readonly TuningRun[], id: string): Figure[] {
  const groups = groupsOf(runs);
  const rows = groups.flatMap((group) => {
    const { name, seeds, exits, minutes } = sweptGroup(group);
    const updates = spreadOf(group.runs.map((run) => run.updates));
    return exits.map(({ exit, loss, agreement }) => [
      name,
      exit,
      String(seeds),
      spreadText(loss, 3, seeds),
      spreadText(inPercent(agreement), 1, seeds),
      spreadText(minutes, 1, seeds),
      spreadText(updates, 0, seeds),
    ]);
  });
  const figures: Figure[] = [
    {
      id: `${id}-comparison`,
      title: 'Runs beside each other',
      note: 'Mean ± deviation over runs that differ in the seed alone, on held-out text.',
      kind: 'table',
      head: ['run', 'exit', 'seeds', 'loss', 'agreement, %', 'minutes', 'updates'],
      rows,
    },
  ];
  figures.push(costTable(groups, `${id}-cost`));
  const drawn = groups.filter(({ runs: own }) => own.some(({ evaluations }) => evaluations.length > 1));
  if (drawn.length > 0) figures.push(meanLosses(drawn, id));
  return figures;
}

/** The mean held-out loss of a group's exits, with the band of its seeds. */
const meanLosses = (groups: readonly Group[], id: string): Figure => ({
  id: `${id}-held-out-loss`,
  title: 'Held-out loss of all exits',
  note: 'Mean over the exits of a run, nats a token; the band is from the lowest to the highest seed.',
  kind: 'lines',
  x: 'tokens',
  y: 'loss',
  series: groups.map(({ name, runs }, i) => ({
    name,
    shade: seriesShade(i),
    isLine: true,
    points: bandOf(runs),
  })),
});

function meanLoss(scores: readonly ExitScore[]): number {
  const own = scores.filter(({ exit }) => exit !== 'final');
  return own.reduce((sum, { loss }) => sum + loss, 0) / own.length;
}

/**
 * At the updates at which the first of them was evaluated, as far as all were tuned. Runs that are given minutes are evaluated after other
 * updates each; between two of its evaluations a run's loss and tokens are taken for straight lines.
 */
export function bandOf(runs: readonly Pick<TuningRun, 'evaluations'>[]): Point[] {
  const curves = runs.map(({ evaluations }) =>
    evaluations.map(({ step, tokens, scores }) => ({ step, tokens, loss: meanLoss(scores) })),
  );
  const [from, to] = [
    Math.max(...curves.map((curve) => curve[0]?.step ?? Infinity)),
    Math.min(...curves.map((curve) => curve.at(-1)?.step ?? -Infinity)),
  ];
  const steps = curves[0]!.map(({ step }) => step).filter((step) => step >= from && step <= to);
  return steps.map((step) => {
    const own = curves.map((curve) => between(curve, step));
    const losses = own.map(({ loss }) => loss);
    const [x, y] = [spreadOf(own.map(({ tokens }) => tokens)).mean, spreadOf(losses).mean];
    return runs.length < 2 ? { x, y } : { x, y, low: Math.min(...losses), high: Math.max(...losses) };
  });
}

interface Evaluated {
  readonly step: number;
  readonly tokens: number;
  readonly loss: number;
}

/** Of a run that was evaluated at this update, or before and after it. */
function between(curve: readonly Evaluated[], step: number): Evaluated {
  const after = curve.findIndex((each) => each.step >= step);
  const [a, b] = [curve[Math.max(0, after - 1)]!, curve[after]!];
  if (b.step === step) return b;
  const share = (step - a.step) / (b.step - a.step);
  return { step, tokens: a.tokens + share * (b.tokens - a.tokens), loss: a.loss + share * (b.loss - a.loss) };
}
