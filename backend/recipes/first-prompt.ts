/** A prompt to try exits with, as their text begins: what printed commands propose. Reads some documents; knows no model. */
import path from 'node:path';
import { readDocuments, type Document } from '../data/documents.ts';

/** `isChat`: it is a turn of a conversation, for the model's own template. */
export interface FirstPrompt {
  readonly text: string;
  readonly isChat: boolean;
}

/** How files of a language may begin, by their endings. */
const beginnings: readonly (readonly [endings: string, text: string])[] = [
  ['ts mts cts tsx js mjs cjs jsx', 'const result ='],
  ['py pyi', 'def mean(values):'],
  ['c h cc cpp cxx hpp', 'int main('],
  ['cs', 'public class '],
  ['go', 'func main() {'],
  ['java', 'public class '],
  ['kt', 'fun main('],
  ['php', '<?php'],
  ['rb', 'def mean(values)'],
  ['rs', 'fn main() {'],
  ['sh bash', '#!/bin/sh'],
  ['sql', 'SELECT '],
  ['swift', 'func mean('],
];
const chat: FirstPrompt = { text: 'Explain closures.', isChat: true };
/** For the model that ships, and text of which nothing can be read any more. */
const usual = 'const result =';
/** For any text that is in no known language. */
const neutral = 'The most important';
/** Documents that are read; those of a folder are of one kind more often than not. */
const some = 64;

/** The prompt for what most of the documents of `data` (files, folders, globs) are, of the first some. */
export function firstPrompt(data: readonly string[]): FirstPrompt {
  const counts = new Map<string, number>();
  try {
    for (const document of firstOf(readDocuments(data))) {
      const kind = document.kind === 'chat' ? 'chat' : beginningOf(document);
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

/** Lines of JSON (`texts.jsonl:3`) have no language, and parts of a long file (`long.py#2`) that of the file. */
function beginningOf({ name }: Document): string {
  const ending = path.extname(name.replace(/#\d+$/, '')).slice(1).toLowerCase();
  return beginnings.find(([endings]) => endings.split(' ').includes(ending))?.[1] ?? neutral;
}
