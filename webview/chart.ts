/** The chart on the screen: uPlot behind a small interface. Zoom by dragging, by wheel and by keys; a cursor with values. */
import uPlot from 'uplot';
import type { ChartModel } from './chart-model.ts';
import { inTableOrder, plotOptions, tableOf, type ChartTexts, type PlotLooks } from './chart-plot.ts';
import { drawReferences } from './chart-references.ts';
import { wheelFactor } from './curves-keys.ts';
import type { Theme } from './theme.ts';

export interface Chart {
  draw(model: ChartModel, logarithmic: boolean, theme: Theme): void;
  resize(): void;
  /** Width of the plot in pixels. */
  width(): number;
  /** Puts the cursor at a step; null takes it away. */
  moveCursor(step: number | null): void;
}

export interface ChartEvents {
  /** The step under the cursor; null if there is none. */
  readonly cursor: (step: number | null) => void;
  /** A new range of steps; null for all. */
  readonly zoom: (range: [number, number] | null) => void;
}

export function createChart(target: HTMLElement, texts: () => ChartTexts, events: ChartEvents): Chart {
  let plot: uPlot | null = null;
  let shape = '';
  let model: ChartModel = { view: 'gap', curves: [], references: [], range: [0, 1] };
  let drawing = false;
  /** The step at which `moveCursor` put the cursor, where it stays as the scale changes; null once the pointer moves it. */
  let pinned: number | null = null;

  const size = (): { width: number; height: number } => ({
    width: Math.max(80, target.clientWidth),
    height: Math.max(80, target.clientHeight),
  });

  const build = (looks: PlotLooks): uPlot => {
    const hooks: uPlot.Hooks.Arrays = {
      setCursor: [
        (self) => {
          if (drawing || pinned !== null) return;
          const { left } = self.cursor;
          events.cursor(left === undefined || left === null || left < 0 ? null : self.posToVal(left, 'x'));
        },
      ],
      setSelect: [
        (self) => {
          if (self.select.width < 4) return;
          const from = self.posToVal(self.select.left, 'x');
          const to = self.posToVal(self.select.left + self.select.width, 'x');
          self.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
          events.zoom([from, to]);
        },
      ],
      draw: [
        (self) => {
          drawReferences(self, model, looks.theme, texts().final);
          if (pinned !== null) placeCursor(self, pinned);
        },
      ],
    };
    const built = new uPlot(
      plotOptions(() => model, looks, size(), hooks),
      tableOf(model.curves),
      target,
    );
    built.over.addEventListener('mousemove', () => (pinned = null), { capture: true });
    built.over.addEventListener('wheel', zoomAround, { passive: false });
    built.over.addEventListener('dblclick', () => events.zoom(null));
    return built;
  };

  const zoomAround = (event: WheelEvent): void => {
    // A sideways turn zooms nothing.
    if (!plot || event.deltaY === 0) return;
    event.preventDefault();
    const factor = wheelFactor(event.deltaY);
    const [from, to] = model.range;
    const center = plot.posToVal(event.clientX - plot.over.getBoundingClientRect().left, 'x');
    events.zoom([center - (center - from) * factor, center + (to - center) * factor]);
  };

  /** A step that is not in sight takes the cursor away. */
  const placeCursor = (on: uPlot, step: number | null): void => {
    const left = step === null ? -1 : on.valToPos(step, 'x');
    const isSeen = left >= 0 && left <= on.over.clientWidth;
    on.setCursor(isSeen ? { left, top: on.over.clientHeight / 2 } : { left: -10, top: -10 }, false);
  };

  return {
    draw(next, logarithmic, theme) {
      const nextShape = JSON.stringify([
        next.curves.map(({ run, exit, kind, shade, place }) => [run, exit, kind, shade, place]),
        next.references.length > 0,
        next.view,
        logarithmic,
        theme,
      ]);
      model = { ...next, curves: inTableOrder(next.curves) };
      drawing = true;
      if (plot && nextShape === shape) plot.setData(tableOf(model.curves));
      else {
        plot?.destroy();
        plot = build({ logarithmic, theme, texts: texts() });
        shape = nextShape;
      }
      drawing = false;
    },
    resize: () => plot?.setSize(size()),
    width: () => Math.round(plot?.over.clientWidth ?? target.clientWidth),
    moveCursor(step) {
      pinned = step;
      if (plot) placeCursor(plot, step);
    },
  };
}
