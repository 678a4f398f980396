/**
 * Turns what a command prints in colour into an SVG picture for the README:
 *
 *     FORCE_COLOR=1 npx early-exit start 2>&1 | node scripts/picture.mjs docs/images/start.svg
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { text } from 'node:stream/consumers';

const [LINE, GLYPH, MARGIN] = [19, 8.43, 16];
const colours = { 31: '#ff7b72', 32: '#56d364', 33: '#e3b341', 36: '#56d4dd' };
const levels = [0, 95, 135, 175, 215, 255];

const lines = (await text(process.stdin))
  .trimEnd()
  .split('\n')
  .map((line) => line.split(/\r(?:\x1b\[2K)?/).at(-1));
const width = Math.max(...lines.map((line) => [...line.replace(/\x1b\[[\d;]*m/g, '')].length)) * GLYPH + 2 * MARGIN;
const height = lines.length * LINE + 2 * MARGIN;
const out = process.argv[2];
mkdirSync(path.dirname(out), { recursive: true });
writeFileSync(
  out,
  `<svg xmlns="http://www.w3.org/2000/svg" width="${Math.ceil(width)}" height="${height}" font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, monospace" font-size="14">
<rect width="100%" height="100%" rx="8" fill="#0d1117"/>
${lines.map(drawLine).join('\n')}
</svg>
`,
);

function drawLine(line, index) {
  const y = MARGIN + (index + 0.75) * LINE;
  return `<text x="${MARGIN}" y="${y}" fill="#e6edf3" xml:space="preserve">${spans(line)}</text>`;
}

/** One `tspan` for each stretch of the same style. */
function spans(line) {
  const style = { fill: null, bold: false, dim: false };
  let svg = '';
  for (const part of line.split(/(\x1b\[[\d;]*m)/)) {
    const codes = /^\x1b\[([\d;]*)m$/.exec(part)?.[1];
    if (codes !== undefined) applyCodes(style, codes.split(';').map(Number));
    else if (part) svg += `<tspan${attributes(style)}>${escape(part)}</tspan>`;
  }
  return svg;
}

function applyCodes(style, [code, , colour]) {
  if (code === 38) style.fill = paletteColour(colour);
  else if (code in colours) style.fill = colours[code];
  else if (code === 39) style.fill = null;
  else if (code === 1) style.bold = true;
  else if (code === 2) style.dim = true;
  else if (code === 22) style.bold = style.dim = false;
  else if (code === 0) Object.assign(style, { fill: null, bold: false, dim: false });
}

/** The 6 × 6 × 6 cube of the 256 colours. */
function paletteColour(index) {
  const cube = index - 16;
  const parts = [Math.floor(cube / 36), Math.floor(cube / 6) % 6, cube % 6].map((level) => levels[level]);
  return `rgb(${parts.join(',')})`;
}

const attributes = ({ fill, bold, dim }) =>
  `${fill ? ` fill="${fill}"` : ''}${bold ? ' font-weight="bold"' : ''}${dim ? ' opacity="0.6"' : ''}`;

function escape(part) {
  return part.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}
