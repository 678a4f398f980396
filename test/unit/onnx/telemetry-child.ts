/** Runs a product here and in a probe's process, as every command does. */
import { probe, resolvePackage } from '../../../backend/devices/probe.ts';
import { GraphBuilder } from '../../../backend/onnx/builder.ts';
import { openSession } from '../../../backend/onnx/session.ts';

const builder = new GraphBuilder();
const sum = builder.node('Add', [
  builder.input('x', 'float32', [1]),
  builder.initialiser('w', Float32Array.of(1), [1]),
]);
builder.output(sum, 'y', 'float32', [1]);
const built = builder.build();
const { bytes } = built;
const session = await openSession(built);
const { y } = await session.run({ x: { data: Float32Array.of(2), shape: [1] } });
await session.dispose();
const program = `
  const { InferenceSession } = require(input.entry);
  const opened = await InferenceSession.create(Buffer.from(input.graph, 'base64'));
  report({ found: opened.outputNames });`;
const graph = Buffer.from(bytes).toString('base64');
const probed = await probe(program, { entry: resolvePackage('onnxruntime-node'), graph });
process.stdout.write(JSON.stringify([...y!.data, probed]));
