/** Tables as CSV, Markdown and LaTeX. Pure. */
import type { Table } from './figure.ts';

/** RFC 4180. */
export const csv = ({ head, rows }: Table): string =>
  [head, ...rows].map((row) => `${row.map(csvCell).join(',')}\r\n`).join('');

const csvCell = (text: string): string => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

export function markdown({ head, rows }: Table): string {
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell) => cell.replaceAll('\\', '\\\\').replaceAll('|', '\\|').replaceAll('\n', ' ')).join(' | ')} |\n`;
  return [line(head), `|${head.map((_, i) => (i === 0 ? '---' : '---:')).join('|')}|\n`, ...rows.map(line)].join('');
}

export function latex({ head, rows }: Table): string {
  const line = (cells: readonly string[]): string => `  ${cells.map(latexCell).join(' & ')} \\\\\n`;
  const columns = head.map((_, i) => (i === 0 ? 'l' : 'r')).join('');
  const body = [line(head), '  \\hline\n', ...rows.map(line)].join('');
  return `\\begin{tabular}{${columns}}\n${body}\\end{tabular}\n`;
}

const signs: Readonly<Record<string, string>> = {
  '\\': '\\textbackslash{}',
  '~': '\\textasciitilde{}',
  '^': '\\textasciicircum{}',
  '−': '$-$',
  '±': '$\\pm$',
  '×': '$\\times$',
  '…': '\\ldots{}',
};
const latexCell = (text: string): string => text.replace(/[\\~^−±×…]|[&%$#_{}]/g, (sign) => signs[sign] ?? `\\${sign}`);

/** Text within HTML, or within an attribute. */
export const escaped = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');
