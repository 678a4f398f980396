/**
 * Before `npm pack` and `npm publish`: dist/ as every platform needs it. Its bundles hold all packages but ONNX Runtime,
 * which lies beside them, so that installing runs no script and downloads nothing but packages.
 */
import path from 'node:path';
import { copyRuntime, platforms } from './runtime.mjs';
import { installPackages, root, run } from './set-up.mjs';

installPackages();
run(process.execPath, ['scripts/build.mjs', '--package']);
copyRuntime(path.join(root, 'dist'), platforms());
