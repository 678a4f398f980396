/**
 * TensorBoard's event files: records of length, bytes and two checksums (TFRecord), each an `Event` of its protocol buffers. Only what
 * scalars need of them. https://github.com/tensorflow/tensorboard/blob/2.21.0/tensorboard/compat/proto/event.proto
 */
import { crc32c } from './crc.ts';

export interface ScalarEvent {
  /** Seconds since 1970. */
  readonly wallTime: number;
  readonly step: number;
  /** Values by tag; a tag's part before its first slash is the group it is drawn in. */
  readonly scalars: Readonly<Record<string, number>>;
}

/** The first record of a file. Readers then ignore values of earlier files in the folder for `step` and later ones. */
export const fileHead = (wallTime: number, step: number): Uint8Array =>
  Buffer.concat([
    record(event(wallTime, 0, text(3, 'brain.Event:2'))),
    // SessionLog.status = START.
    record(event(wallTime, step, bytes(7, varintField(1, 1)))),
  ]);

/** A record with all scalars of a step. Not-a-number is kept. */
export function scalarRecord({ wallTime, step, scalars }: ScalarEvent): Uint8Array {
  const values = Object.entries(scalars).map(([tag, value]) =>
    bytes(1, Buffer.concat([text(1, tag), float(2, value)])),
  );
  return record(event(wallTime, step, bytes(5, Buffer.concat(values))));
}

const event = (wallTime: number, step: number, what: Uint8Array): Uint8Array =>
  Buffer.concat([double(1, wallTime), ...(step === 0 ? [] : [varintField(2, step)]), what]);

/** Length, its checksum, the bytes, theirs. */
function record(data: Uint8Array): Uint8Array {
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(data.length));
  return Buffer.concat([length, checksum(length), data, checksum(data)]);
}

/** Masked, since a checksum over data with checksums is weak. */
function checksum(data: Uint8Array): Buffer {
  const crc = crc32c(data);
  const masked = Buffer.alloc(4);
  masked.writeUInt32LE((((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0);
  return masked;
}

// Fields of protocol buffers: a key of number and wire type, then the value.

const varintField = (field: number, value: number): Uint8Array => Buffer.from([field << 3, ...varint(value)]);
const text = (field: number, value: string): Uint8Array => bytes(field, Buffer.from(value));
const bytes = (field: number, value: Uint8Array): Uint8Array =>
  Buffer.concat([Buffer.from([(field << 3) | 2, ...varint(value.length)]), value]);

function double(field: number, value: number): Uint8Array {
  const out = Buffer.alloc(9, (field << 3) | 1);
  out.writeDoubleLE(value, 1);
  return out;
}

function float(field: number, value: number): Uint8Array {
  const out = Buffer.alloc(5, (field << 3) | 5);
  out.writeFloatLE(value, 1);
  return out;
}

function varint(value: number): number[] {
  const out: number[] = [];
  for (let rest = value; ; rest = Math.floor(rest / 128)) {
    if (rest < 128) return [...out, rest];
    out.push((rest % 128) | 128);
  }
}
