/** Makes the files of an export: text for SVG and CSV, pixels of the SVG for PNG. */
import type { CurveRun, ExportFormat, ViewMessage } from '../protocol/webview.ts';
import { shades } from '../protocol/palette.ts';
import { isLogarithmic, type ChartModel, type CurvesState } from './chart-model.ts';
import { noPoints, type RunPoints } from './columns.ts';
import { toCsv, toSvg } from './exports.ts';
import { t, valueText } from './texts.ts';
import type { Theme } from './theme.ts';

const SIZE = { width: 960, height: 540 };
/** Pixels of a PNG for each of the drawing. */
const SCALE = 2;

export async function exportCurves(
  format: ExportFormat,
  front: CurveRun,
  runs: readonly CurveRun[],
  points: ReadonlyMap<string, RunPoints>,
  shown: { model: ChartModel; state: CurvesState; theme: Theme },
): Promise<ViewMessage> {
  const name = `loss-curves-${front.title}`;
  const { view } = shown.state;
  if (format === 'csv') {
    const data = toCsv(runs.map((run) => ({ title: run.title, points: points.get(run.id) ?? noPoints() })));
    return { type: 'export', format, name, data };
  }
  const svg = toSvg(shown.model, {
    ...SIZE,
    title: front.title,
    logarithmic: isLogarithmic(shown.state),
    ...resolved(shown.theme),
    stepText: t('Step'),
    valueText: valueText(view),
    finalText: t('final exit'),
  });
  return { type: 'export', format, name, data: format === 'svg' ? svg : await toPng(svg) };
}

/** Base64 of a PNG. */
async function toPng(svg: string): Promise<string> {
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(svg)}`;
  await image.decode();
  const canvas = document.createElement('canvas');
  canvas.width = SIZE.width * SCALE;
  canvas.height = SIZE.height * SCALE;
  const context = canvas.getContext('2d');
  if (!context) throw new Error('This webview cannot draw.');
  context.scale(SCALE, SCALE);
  context.drawImage(image, 0, 0);
  return canvas.toDataURL('image/png').replace(/^data:image\/png;base64,/, '');
}

/** A file knows no theme: mixed and named colours become plain ones. */
function resolved({
  background,
  foreground,
  grid,
  marks,
}: Theme): Pick<Theme, 'background' | 'foreground' | 'grid' | 'marks'> {
  const probe = document.createElement('canvas').getContext('2d');
  const plain = (colour: string): string => {
    if (!probe) return colour;
    probe.clearRect(0, 0, 1, 1);
    probe.fillStyle = colour;
    probe.fillRect(0, 0, 1, 1);
    const [red = 0, green = 0, blue = 0, alpha = 255] = probe.getImageData(0, 0, 1, 1).data;
    return `rgba(${red},${green},${blue},${Math.round((100 * alpha) / 255) / 100})`;
  };
  return {
    background: plain(background),
    foreground: plain(foreground),
    grid: plain(grid),
    marks: Object.fromEntries(shades.map((shade) => [shade, plain(marks[shade])])) as Theme['marks'],
  };
}
