/** Measures how deep JSON is nested before anything parses it, since functions that walk JSON that is nested too deep overflow the stack. */

/** Most lists and objects within each other. Conversations with tools have about ten. */
export const mostLevels = 100;

/** Takes a text's bytes as they come; answers the deepest list or object so far. */
export type NestingMeter = (bytes: Uint8Array) => number;

const [quote, backslash] = [0x22, 0x5c];
const [openList, openObject] = [0x5b, 0x7b];
const [closeList, closeObject] = [0x5d, 0x7d];

/** Bytes beyond ASCII are never one of these in UTF-8, so nothing is decoded. */
export function newNestingMeter(): NestingMeter {
  let depth = 0;
  let deepest = 0;
  let isText = false;
  let isEscaped = false;
  return (bytes) => {
    for (const byte of bytes) {
      if (isEscaped) isEscaped = false;
      else if (isText) {
        if (byte === backslash) isEscaped = true;
        else if (byte === quote) isText = false;
      } else if (byte === quote) isText = true;
      else if (byte === openList || byte === openObject) deepest = Math.max(deepest, ++depth);
      else if (byte === closeList || byte === closeObject) depth--;
    }
    return deepest;
  };
}
