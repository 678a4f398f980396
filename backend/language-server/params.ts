/** Shapes of the LSP requests that this server answers; its own requests declare theirs in protocol/server.ts. */
import { count, list, number, record, text } from '../../protocol/shapes.ts';

const position = record({ line: count, character: count });
const range = record({ start: position, end: position });
const textDocument = record({ uri: text });

export const documentParams = record({ textDocument });
export const positionParams = record({ textDocument, position });
export const rangeParams = record({ textDocument, range });

export const openParams = record({
  textDocument: record({ uri: text, languageId: text, version: number, text }),
});
/** A change without a range is the whole text anew. */
export const changeParams = record({
  textDocument: record({ uri: text, version: number }),
  contentChanges: list(record({ text }, { range })),
});
