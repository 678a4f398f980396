/** A prompt to try exits with, as their text begins: what printed commands propose. Reads some documents; knows no model. */
import path from 'node:path';
import { readDocuments, type Document } from '../../data/texts/documents.ts';

/** `isChat`: it is a turn of a conversation, for the model's own template. */
export interface FirstPrompt {
  readonly text: string;
  readonly isChat: boolean;
}

interface Language {
  /** Of files. */
  readonly endings: string;
  /** How lines of it begin, for text that is in no file of its own. */
  readonly sign?: RegExp;
  readonly prompt: string;
}

/** For the model that ships, and text of which nothing can be read any more. */
const usual = 'export function mean(values';

const languages: readonly Language[] = [
  {
    endings: 'ts mts cts tsx js mjs cjs jsx',
    sign: /^(?:export |const |interface |import .* from ['"])/m,
    prompt: usual,
  },
  { endings: 'py pyi', sign: /^(?:def \w+\(|from \S+ import |class \w+.*:$)/m, prompt: 'def mean(values):' },
  { endings: 'c h cc cpp cxx hpp', prompt: 'int main(' },
  { endings: 'cs java', prompt: 'public class ' },
  { endings: 'go', prompt: 'func main() {' },
  { endings: 'kt', prompt: 'fun main(' },
  { endings: 'php', prompt: '<?php' },
  { endings: 'rb', prompt: 'def mean(values)' },
  { endings: 'rs', prompt: 'fn main() {' },
  { endings: 'sh bash', prompt: '#!/bin/sh' },
  { endings: 'sql', prompt: 'SELECT ' },
  { endings: 'swift', prompt: 'func mean(' },
];
const chat: FirstPrompt = { text: 'Explain closures.', isChat: true };
/** For any text that is in no known language. */
const neutral = 'The most important';
/** Documents that are read; those of a folder are of one kind more often than not. */
const some = 64;

/** The prompt for what most of the documents of `data` (files, folders, globs) are, of the first some. */
export function firstPrompt(data: readonly string[]): FirstPrompt {
  const counts = new Map<string, number>();
  try {
    for (const document of firstOf(readDocuments(data))) {
      const kind = document.kind === 'chat' ? 'chat' : promptOf(document.name, document.text);
      counts.set(kind, (counts.get(kind) ?? 0) + 1);
    }
  } catch {
    // A proposal is not worth an error: the files may have gone since.
  }
  const [most] = [...counts].sort(([, a], [, b]) => b - a)[0] ?? [usual];
  return most === 'chat' ? chat : { text: most, isChat: false };
}

function* firstOf(documents: Iterable<Document>): Generator<Document> {
  let count = 0;
  for (const document of documents) {
    yield document;
    if (++count === some) return;
  }
}

/** Parts of a long file (`long.py#2`) have its language; lines of JSON (`texts.jsonl:3`) are known by what they say. */
function promptOf(name: string, text: string): string {
  const ending = path.extname(name.replace(/#\d+$/, '')).slice(1).toLowerCase();
  const known = languages.find(({ endings }) => endings.split(' ').includes(ending));
  const isLine = /^(?:jsonl|ndjson):/.test(ending);
  return (known ?? (isLine ? languages.find(({ sign }) => sign?.test(text)) : undefined))?.prompt ?? neutral;
}
