/** Results as tables of docs/results.md, between two marks; what people wrote around them stays. */
import os from 'node:os';
import { figures as short } from '../../backend/cli/table.ts';
import type { Result } from './harness.ts';

const BEGIN = '<!-- benchmarks: begin -->';
const END = '<!-- benchmarks: end -->';

/** The machine as a reader would name it. */
export function machineName(): string {
  const cpus = os.cpus();
  const memory = Math.round(os.totalmem() / 2 ** 30);
  return `${cpus[0]?.model.trim() ?? 'unknown processor'}, ${cpus.length} cores, ${memory} GB, ${os.type()} ${os.arch()}, Node ${process.versions.node}`;
}

/** `page` with the tables of `results` between its marks; a page without marks gets them at its end. */
export function withTables(page: string, results: readonly Result[], machine: string, date: string): string {
  const [before, after] = page.includes(BEGIN)
    ? [page.slice(0, page.indexOf(BEGIN)), page.slice(page.indexOf(END) + END.length)]
    : [`${page.trimEnd()}\n\n`, '\n'];
  return `${before}${BEGIN}\n\n${tables(results, machine, date)}\n${END}${after}`;
}

function tables(results: readonly Result[], machine: string, date: string): string {
  const parts = [`Measured by \`npm run bench\` on ${date}: ${machine}.`];
  for (const { title, unit, figures, comparisons, notes } of results) {
    parts.push(`### ${title}`);
    parts.push(
      [`| | best, ${unit} | median, ${unit} | rounds |`, '|---|---|---|---|']
        .concat(
          figures.map(
            ({ name, best, median, rounds }) => `| ${name} | ${short(best)} | ${short(median)} | ${rounds} |`,
          ),
        )
        .join('\n'),
    );
    if (comparisons.length > 0) {
      parts.push(
        ['| | ratio of medians | at least |', '|---|---|---|']
          .concat(comparisons.map(({ what, ratio, atLeast }) => `| ${what} | ${ratio.toFixed(2)} | ${atLeast} |`))
          .join('\n'),
      );
    }
    parts.push(...notes);
  }
  return `${parts.join('\n\n')}\n`;
}
