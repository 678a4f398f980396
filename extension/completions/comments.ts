/** Whether a position is inside a comment, judged by its signs. Pure; knows no grammar of a language. */

interface Signs {
  readonly line: readonly string[];
  readonly block: readonly (readonly [open: string, close: string])[];
}

const cLike: Signs = { line: ['//'], block: [['/*', '*/']] };
const hash: Signs = { line: ['#'], block: [] };
const dash: Signs = { line: ['--'], block: [] };
const markup: Signs = { line: [], block: [['<!--', '-->']] };

/** By language id; others are taken to be like C. */
const signsOf: Readonly<Record<string, Signs>> = {
  python: hash,
  ruby: hash,
  shellscript: hash,
  perl: hash,
  r: hash,
  yaml: hash,
  toml: hash,
  dockerfile: hash,
  makefile: hash,
  powershell: { line: ['#'], block: [['<#', '#>']] },
  julia: { line: ['#'], block: [['#=', '=#']] },
  sql: { line: ['--'], block: [['/*', '*/']] },
  lua: { line: ['--'], block: [['--[[', ']]']] },
  haskell: { line: ['--'], block: [['{-', '-}']] },
  ada: dash,
  html: markup,
  xml: markup,
  markdown: markup,
  css: { line: [], block: [['/*', '*/']] },
  php: { line: ['//', '#'], block: [['/*', '*/']] },
  clojure: { line: [';'], block: [] },
  lisp: { line: [';'], block: [] },
  latex: { line: ['%'], block: [] },
};

/** Whether text typed after `before` is part of a comment. */
export function isInComment(language: string, before: string): boolean {
  const { line, block } = signsOf[language] ?? cLike;
  let at = 0;
  let quote: string | null = null;
  while (at < before.length) {
    const sign = before[at]!;
    if (quote !== null) {
      // A quote left open ends with its line, but for the one that may go on.
      if (sign === '\\') at++;
      else if (sign === quote || (sign === '\n' && quote !== '`')) quote = null;
      at++;
      continue;
    }
    const opened = block.find(([open]) => before.startsWith(open, at));
    if (opened) {
      const end = before.indexOf(opened[1], at + opened[0].length);
      if (end < 0) return true;
      at = end + opened[1].length;
    } else if (line.some((each) => before.startsWith(each, at))) {
      const end = before.indexOf('\n', at);
      if (end < 0) return true;
      at = end;
    } else {
      if (quotes.includes(sign)) quote = sign;
      at++;
    }
  }
  return false;
}

const quotes = ['"', "'", '`'];
