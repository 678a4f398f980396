/** `npm run build`: bundles into dist/, or with `--out=FOLDER` elsewhere. */
import path from 'node:path';
import { bundle } from './bundle.mjs';
import { root } from './set-up.mjs';

const out = process.argv.find((word) => word.startsWith('--out='))?.slice('--out='.length) ?? path.join(root, 'dist');
await bundle(out, { forPackage: false });
