/** What a thread runs: all recipes. */
import { recipes } from '../recipes/index.ts';
import { serveHost } from './thread.ts';

serveHost(recipes);
