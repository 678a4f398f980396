/** Event files have the bytes that TensorBoard's own writer gives them. */
import { expect, it } from 'vitest';
import { crc32c } from '../../../backend/formats/crc.ts';
import { fileHead, scalarRecord } from '../../../backend/formats/tfevents.ts';

/** Of tensorboard 2.21.0 (PyPI): its `Event` messages, serialised, through its `RecordWriter`. */
const golden = [
  '1800000000000000a37f4b220900002040fc54d9411a0d627261696e2e4576656e743a322b353110100000000000000095fb',
  'fe180900002040fc54d94110ac023a020801b94512a33800000000000000a3797d570900005040fc54d94110ac022a2a0a12',
  '0a0b6c6f73732f383a6c656e7315000030400a140a0d6c6f73732f6772c3b6c39f6572150000c07f099d89ccb30000000000',
  '00000fbfd8410900008040fc54d9411080e497d0122aa1010a9e010a96017878787878787878787878787878787878787878',
  '7878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878',
  '7878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878',
  '78787878787878787878787878787878787878787878787878787878787815cdccccbda198c2ce1800000000000000a37f4b',
  '22090000c040fc54d9412a0d0a0b0a047a65726f150000000053ebb0c8',
].join('');

it('records are those of TensorBoard: a step beyond 32 bits, a tag of two bytes of length, signs that are not ASCII', () => {
  const written = Buffer.concat([
    fileHead(1700000000.5, 300),
    scalarRecord({ wallTime: 1700000001.25, step: 300, scalars: { 'loss/8:lens': 2.75, 'loss/größer': NaN } }),
    scalarRecord({ wallTime: 1700000002, step: 5_000_000_000, scalars: { ['x'.repeat(150)]: -0.1 } }),
    scalarRecord({ wallTime: 1700000003, step: 0, scalars: { zero: 0 } }),
  ]);
  expect(written.toString('hex')).toBe(golden);
});

// RFC 3720, B.4.
it.each([
  [Buffer.alloc(32), 0x8a9136aa],
  [Buffer.alloc(32, 0xff), 0x62a8ab43],
  [Buffer.from(Array.from({ length: 32 }, (_, i) => i)), 0x46dd794e],
])('checksum %#', (data, checksum) => expect(crc32c(data)).toBe(checksum));
