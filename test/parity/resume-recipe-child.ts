/** Tunes with options from the command line, as JSON; prints the step after each. A test kills it. */
import { parseOptions } from '../../protocol/options/options.ts';
import { recipes } from '../../backend/recipes/index.ts';

const options = parseOptions('tune', JSON.parse(process.argv[2]!) as Record<string, unknown>);
for await (const event of recipes.tune(options, new AbortController().signal)) {
  if (event.type === 'step') process.stdout.write(`${event.step}\n`);
  if (event.type === 'tuned') process.stdout.write('done\n');
}
