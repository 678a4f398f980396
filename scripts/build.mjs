/** `npm run build`: bundles into dist/ with the notices of what they hold, or with `--out=FOLDER` elsewhere without. */
import path from 'node:path';
import { bundle } from './bundle.mjs';
import { writeNotices } from './notices.mjs';
import { root } from './set-up.mjs';

const elsewhere = process.argv.find((word) => word.startsWith('--out='))?.slice('--out='.length);
const bundled = await bundle(elsewhere ?? path.join(root, 'dist'), { forPackage: false });
if (elsewhere === undefined) writeNotices(root, bundled);
