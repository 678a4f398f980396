/**
 * Renders chat templates in a process of its own (template.ts is its host): the engine is synchronous, and a template from a model may
 * loop for hours or fill the memory. Plain JavaScript, so that it starts from source as it is.
 */
import { Environment, Interpreter, Template } from '@huggingface/jinja';

class OverBudget extends Error {}

/** Evaluated nodes that are left to the template at work, the longest text or list it may make, and when it must be done. */
let steps = 0;
let longest = 0;
let deadline = 0;

const spend = (count) => {
  steps -= count;
  if (steps < 0) throw new OverBudget('steps');
  // Normally the host ends this process in time. This check ends a template if the host is gone.
  if (steps % 4096 === 0 && Date.now() > deadline) throw new OverBudget('time');
};

const { evaluate } = Interpreter.prototype;
Interpreter.prototype.evaluate = function (node, environment) {
  spend(1);
  const result = evaluate.call(this, node, environment);
  // Texts and lists have a length. What a single step can add is bounded by the memory of this process.
  if (result.value?.length > longest) throw new OverBudget('output');
  return result;
};

/** Python's range. The engine's own makes all numbers at once, however many there are. */
function range(start, stop, step) {
  const [from, to, by] = stop === undefined ? [0, start, 1] : [start, stop, step ?? 1];
  if (by === 0) throw new Error('range() step must not be zero');
  const count = Math.max(0, Math.ceil((to - from) / by));
  spend(Number.isNaN(count) ? 0 : count);
  return Array.from({ length: count || 0 }, (_, i) => from + i * by);
}

const { set } = Environment.prototype;
Environment.prototype.set = function (name, value) {
  return set.call(this, name, name === 'range' ? range : value);
};

/** Parsing costs more than rendering, and a dataset renders one template for every turn. */
let parsed = { source: null, template: null };

function render({ source, values, budget }) {
  if (parsed.source !== source) {
    try {
      parsed = { source, template: new Template(source) };
    } catch (error) {
      return { type: 'unreadable', reason: reasonOf(error) };
    }
  }
  steps = budget.steps;
  longest = budget.output;
  deadline = Date.now() + 1000 * budget.seconds;
  try {
    return { type: 'text', text: parsed.template.render(values) };
  } catch (error) {
    return error instanceof OverBudget
      ? { type: 'over', of: error.message }
      : { type: 'refused', reason: reasonOf(error) };
  }
}

/** The engine fails on some templates, such as one that ends in the middle, with messages that help no user. */
const reasonOf = (error) => {
  if (error instanceof TypeError || error instanceof RangeError) return 'the engine cannot follow it';
  return error instanceof Error ? error.message : String(error);
};

process.on('message', (request) => process.send(render(request)));
process.on('disconnect', () => process.exit());
// Ctrl-C reaches all processes of a terminal. The host decides.
process.on('SIGINT', () => {});
