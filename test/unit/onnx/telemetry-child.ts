/** Runs a product here and in a probe's process, as every command does. */
import { probeProvider } from '../../../backend/devices/probe.ts';
import { GraphBuilder } from '../../../backend/onnx/builder.ts';
import { openSession } from '../../../backend/onnx/session.ts';

const builder = new GraphBuilder();
const sum = builder.node('Add', [
  builder.input('x', 'float32', [1]),
  builder.initialiser('w', Float32Array.of(1), [1]),
]);
builder.output(sum, 'y', 'float32', [1]);
const session = await openSession(builder.build());
const { y } = await session.run({ x: { data: Float32Array.of(2), shape: [1] } });
await session.dispose();
process.stdout.write(JSON.stringify([...y!.data, await probeProvider('cpu')]));
