import { describe, expect, it } from 'vitest';
import { blockInfo, dequantise } from '../../../backend/formats/dequantise.ts';

const bytes = (...values: number[]): Uint8Array => Uint8Array.from(values);
/** 1.0 and 0.5 as 16-bit floats. */
const one = [0x00, 0x3c];
const oneHalf = [0x00, 0x38];

describe('dequantise', () => {
  it('reads 16-bit floats: normal, subnormal, negative, infinite, NaN', () => {
    const halves = [0x3c00, 0x0001, 0xc500, 0x7c00, 0x7e00, 0x8000, 0x7bff].flatMap((h) => [h & 255, h >> 8]);
    const values = [...dequantise('F16', bytes(...halves), 7)];
    expect(values).toEqual([1, 2 ** -24, -5, Infinity, NaN, -0, 65504]);
  });

  it('reads bfloat16 as the upper half of a float', () => {
    expect([...dequantise('BF16', bytes(0x80, 0x3f, 0x49, 0xc0), 2)]).toEqual([1, -3.140625]);
  });

  it('reads integers, doubles and booleans, aligned or not', () => {
    const unaligned = bytes(9, 0xfe, 0xff, 0xff, 0xff, 7, 0, 0, 0).subarray(1);
    expect([...dequantise('I32', unaligned, 2)]).toEqual([-2, 7]);
    expect([...dequantise('I8', bytes(0xff, 5), 2)]).toEqual([-1, 5]);
    expect([...dequantise('U8', bytes(0xff, 5), 2)]).toEqual([255, 5]);
    expect([...dequantise('I16', bytes(0xff, 0xff), 1)]).toEqual([-1]);
    expect([...dequantise('I64', bytes(0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff), 1)]).toEqual([-1]);
    expect([...dequantise('F64', new Uint8Array(new Float64Array([0.25, -8]).buffer), 2)]).toEqual([0.25, -8]);
    expect([...dequantise('BOOL', bytes(0, 1, 2), 3)]).toEqual([0, 1, 1]);
  });

  it('puts low nibbles before high ones and shifts Q4_0 by eight', () => {
    const quants = Array.from({ length: 16 }, (_, j) => j | ((15 - j) << 4));
    const values = [...dequantise('Q4_0', bytes(...oneHalf, ...quants), 32)];
    expect(values.slice(0, 3)).toEqual([-4, -3.5, -3]);
    expect(values.slice(16, 19)).toEqual([3.5, 3, 2.5]);
  });

  it('adds the minimum of Q4_1', () => {
    const values = dequantise('Q4_1', bytes(...oneHalf, ...one, ...new Array<number>(16).fill(0x21)), 32);
    expect([values[0], values[16]]).toEqual([1.5, 2]);
  });

  it('refuses a count that the bytes do not hold', () => {
    expect(() => dequantise('Q8_0', new Uint8Array(34), 31)).toThrow(RangeError);
    expect(() => dequantise('F32', new Uint8Array(34), 8)).toThrow(RangeError);
  });

  it('reads signed bytes of Q8_0', () => {
    const values = dequantise('Q8_0', bytes(...one, 0, 1, 0xff, 0x80, 0x7f, ...new Array<number>(27).fill(0)), 32);
    expect([...values.subarray(0, 5)]).toEqual([0, 1, -1, -128, 127]);
  });

  it('knows how large a block is, and refuses rows that are no whole blocks', () => {
    expect(blockInfo('Q6_K')).toEqual({ elements: 256, bytes: 210 });
    expect(() => dequantise('Q4_K', new Uint8Array(144), 128)).toThrow(RangeError);
  });
});
