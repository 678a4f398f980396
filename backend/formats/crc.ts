/** Checksums of 32 bits by cyclic redundancy, bits reflected. Node has only the first, and that only since 20.15. */

/** The checksum of some bytes; with `before`, the checksum of earlier ones, that of both together. */
export type Crc = (bytes: Uint8Array, before?: number) => number;

function crcOf(polynomial: number): Crc {
  const remainders = Uint32Array.from({ length: 256 }, (_, byte) => {
    let rest = byte;
    for (let bit = 0; bit < 8; bit++) rest = rest & 1 ? (rest >>> 1) ^ polynomial : rest >>> 1;
    return rest;
  });
  return (bytes, before = 0) => {
    let crc = ~before;
    for (const byte of bytes) crc = (crc >>> 8) ^ remainders[(crc ^ byte) & 0xff]!;
    return ~crc >>> 0;
  };
}

/** Of zip, gzip and PNG. */
export const crc32 = crcOf(0xedb88320);
/** Castagnoli's, of TFRecord. */
export const crc32c = crcOf(0x82f63b78);
