/** Where Hugging Face's own programs keep the user's token and the models that they download, by their rules. */
import { join } from 'node:path';
import { xdgCaches, type Environment } from '../system/user-cache.ts';

/** `HF_HOME`, else `huggingface` in `XDG_CACHE_HOME` or `.cache`, on every platform. */
export const huggingFaceHome = (environment: Environment, home: string): string =>
  environment['HF_HOME'] || join(xdgCaches(environment, home), 'huggingface');

/** The folder of models: `HF_HUB_CACHE`, else `hub` in the home. */
export const huggingFaceHub = (environment: Environment, home: string): string =>
  environment['HF_HUB_CACHE'] || join(huggingFaceHome(environment, home), 'hub');
