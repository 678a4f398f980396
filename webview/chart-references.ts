/** The final exit's loss across the chart: a dashed line, and its label beside the plot. */
import type uPlot from 'uplot';
import type { ChartModel } from './chart-model.ts';
import type { Theme } from './theme.ts';

/** Pixels between the plot and the label beside it. */
const LABEL_GAP = 6;

const labelLines = (name: string, value: number): string[] => [name, value === 0 ? '0' : value.toFixed(2)];

/** Width of the labels beside the plot, in pixels; null if there are none. `name`: of the final exit. */
export function labelWidth({ references }: ChartModel, { font }: Theme, name: string): number | null {
  if (references.length === 0) return null;
  const context = document.createElement('canvas').getContext('2d');
  if (!context) return 72;
  context.font = font;
  const lines = references.flatMap(({ value }) => labelLines(name, value));
  return Math.ceil(Math.max(...lines.map((line) => context.measureText(line).width))) + 2 * LABEL_GAP;
}

export function drawReferences(
  plot: uPlot,
  { references }: ChartModel,
  { font, foreground }: Theme,
  name: string,
): void {
  const { ctx, bbox } = plot;
  const ratio = devicePixelRatio;
  ctx.save();
  ctx.font = font.replace('12px', `${Math.round(12 * ratio)}px`);
  ctx.textAlign = 'left';
  for (const { value, place } of references) {
    const y = plot.valToPos(value, 'y', true);
    if (y < bbox.top || y > bbox.top + bbox.height) continue;
    const right = bbox.left + bbox.width;
    ctx.strokeStyle = foreground;
    ctx.fillStyle = foreground;
    ctx.lineWidth = ratio;
    ctx.setLineDash([6 * ratio, 4 * ratio]);
    ctx.beginPath();
    ctx.moveTo(bbox.left, y);
    ctx.lineTo(right, y);
    ctx.stroke();
    if (place > 0) continue;
    const label = labelLines(name, value);
    label.forEach((line, i) => ctx.fillText(line, right + LABEL_GAP * ratio, y + (14 * i - 3) * ratio));
  }
  ctx.restore();
}
