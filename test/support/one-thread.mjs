/**
 * A test computes with one thread of its processor, unless it asks for more: two files run at a time, and ggml's threads wait for
 * each other awake, which takes longer than the products of small models. Loaded first in every process and thread of a test.
 */
import { syncBuiltinESMExports } from 'node:module';
import os from 'node:os';

os.availableParallelism = () => 1;
syncBuiltinESMExports();
