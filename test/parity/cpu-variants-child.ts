/**
 * Computes with one of ggml's libraries for the CPU, in a process of its own, since one process has one. Prints a line of JSON:
 * null if the processor cannot run it, else the passes that differ by model, and the products by type.
 */
import { join } from 'node:path';
import { openCpu } from '../../backend/ggml/cpu.ts';
import { openLibrary } from '../../backend/ggml/library.ts';
import { libraryFolder } from '../../backend/ggml/packages.ts';
import { openModel } from '../../backend/model/open.ts';
import { noExits, openStagedModel } from '../../backend/runtime/open.ts';
import { fixtures } from '../support/golden.ts';
import { differingPasses } from '../support/pass-bits.ts';
import { blockTypes, differingProducts } from '../support/product-bits.ts';

const [file, ...models] = process.argv.slice(2);
const answer = openLibrary(libraryFolder()!).load(file!) === null ? null : await differing();
console.log(JSON.stringify(answer));
process.exit(0);

async function differing(): Promise<Record<string, string[]>> {
  const found: Record<string, string[]> = {};
  for (const each of models) {
    const model = openModel(join(fixtures, each));
    const arithmetic = each.endsWith('.gguf') ? 'int8' : 'float32';
    // How weights are stored says nothing of attention over many keys, nor of what two threads share. The threads wait awake.
    const stands = /q4_k|tiny/.test(each);
    const staged = await openStagedModel(model, noExits, { arithmetic, threads: stands ? 2 : 1 });
    const passes = await differingPasses(staged, stands ? [100, 700] : [100]);
    if (passes.length > 0) found[each] = passes;
    await staged.dispose();
    model.close();
  }
  const cpu = openCpu(openLibrary(libraryFolder()!), { threads: 1 });
  for (const type of blockTypes) {
    const products = differingProducts(cpu, type);
    if (products.length > 0) found[type] = products;
  }
  return found;
}
