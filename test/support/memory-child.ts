/** Runs passes of many shapes through a model, and says what the C library then holds back of memory that was freed, in bytes. */
import { createRequire } from 'node:module';
import type * as koffiTypes from 'koffi';
import { openModel } from '../../backend/model/open.ts';
import { noExits, openStagedModel } from '../../backend/runtime/open.ts';

const koffi = createRequire(import.meta.url)('koffi') as typeof koffiTypes;
const fields = ['arena', 'ordblks', 'smblks', 'hblks', 'hblkhd', 'usmblks', 'fsmblks', 'uordblks', 'fordblks', 'keep'];
koffi.struct('mallinfo2', Object.fromEntries(fields.map((field) => [field, 'size_t'])));
const ask = koffi.load('libc.so.6').func('mallinfo2 mallinfo2()') as () => { readonly fordblks: number | bigint };

const model = openModel(process.argv[2]!);
const staged = await openStagedModel(model, noExits, { arithmetic: 'int8' });
const slots = staged.openSlots(4);
for (let round = 0; round < 2; round++)
  for (let tokens = 1; tokens <= 150; tokens++) {
    const row = tokens % 4;
    slots.truncate(row, 0);
    slots.enter(
      row,
      Array.from({ length: tokens }, (_, i) => (7 * i) % 1000),
    );
    await slots.run(
      0,
      [0, 1, 2, 3].map((r) => (r === row ? tokens : 0)),
    );
  }
console.log(JSON.stringify({ held: Number(ask().fordblks) }));
process.exit();
