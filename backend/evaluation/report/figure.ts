/** Figures of a report as data, and their numbers as a table: drawn in svg.ts, written in formats.ts. Pure. */
import { shades, type Shade } from '../../../protocol/palette.ts';

export interface Point {
  readonly x: number;
  readonly y: number;
  /** Ends of an interval around y. */
  readonly low?: number;
  readonly high?: number;
  /** The label beside the point. */
  readonly label?: string;
  /** Whether it has a ring: see `ringed`. */
  readonly hasRing?: boolean;
}

export interface Series {
  readonly name: string;
  readonly shade: Shade;
  /** Joined by a line, with intervals as a band; else points alone, with intervals as bars. */
  readonly isLine: boolean;
  readonly points: readonly Point[];
}

interface Common {
  /** Names its files, such as `my-score-over-speed`. */
  readonly id: string;
  readonly title: string;
  /** How to read it. */
  readonly note: string;
}

export type Figure = Common &
  (
    | {
        readonly kind: 'lines';
        readonly x: string;
        readonly y: string;
        readonly series: readonly Series[];
        /** A level to compare with. */
        readonly level?: { readonly name: string; readonly y: number };
        /** What points with a ring are. */
        readonly ringed?: string;
      }
    /** Shares that add up, one bar a category. */
    | {
        readonly kind: 'bars';
        readonly y: string;
        readonly categories: readonly string[];
        readonly series: readonly {
          readonly name: string;
          readonly shade: Shade;
          readonly values: readonly number[];
        }[];
      }
    | { readonly kind: 'table'; readonly head: readonly string[]; readonly rows: readonly (readonly string[])[] }
  );

export type LinesFigure = Extract<Figure, { kind: 'lines' }>;
export type BarsFigure = Extract<Figure, { kind: 'bars' }>;

export interface Table {
  readonly head: readonly string[];
  readonly rows: readonly (readonly string[])[];
}

/** The numbers of a figure. */
export function tableOf(figure: Figure): Table {
  switch (figure.kind) {
    case 'table':
      return figure;
    case 'bars':
      return {
        head: ['', ...figure.series.map(({ name }) => name)],
        rows: figure.categories.map((category, i) => [
          category,
          ...figure.series.map(({ values }) => figureText(values[i]!)),
        ]),
      };
    case 'lines': {
      const points = figure.series.flatMap(({ points: own }) => own);
      const has = { label: points.some(({ label }) => label), interval: points.some(({ low }) => low !== undefined) };
      return {
        head: ['series', ...(has.label ? ['at'] : []), figure.x, figure.y, ...(has.interval ? ['low', 'high'] : [])],
        rows: figure.series.flatMap(({ name, points: own }) =>
          own.map(({ x, y, low, high, label = '' }) => [
            name,
            ...(has.label ? [label] : []),
            figureText(x),
            figureText(y),
            ...(has.interval ? [low, high].map((end) => (end === undefined ? '' : figureText(end))) : []),
          ]),
        ),
      };
    }
  }
}

/** Four figures at most: 0.1234, 12.34, 1234. */
export const figureText = (value: number): string =>
  Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(4)));

/** A text as a part of an id. */
export const slug = (text: string): string =>
  text
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-|-$/g, '');

/** Shades for series that are no exits. */
export const seriesShade = (i: number): Shade => shades[1 + (i % (shades.length - 2))]!;
