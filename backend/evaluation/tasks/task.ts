/** A task whose answer can be judged, from any kind of file. */
import type { Language } from './sandbox.ts';

export const textMetrics = ['exact', 'contains', 'f1', 'rouge-l'] as const;
export type TextMetric = (typeof textMetrics)[number];

export type TaskForm =
  /** Code that continues the prompt and passes the tests after it. */
  | { readonly form: 'code'; readonly prompt: string; readonly language: Language; readonly tests: string }
  /**
   * The text between prefix and suffix: right if tests pass, or, without tests, if it equals the line. `isLine`: an answer is one line;
   * `goesOn`: that line goes on with the suffix, so an answer has no line's end.
   */
  | {
      readonly form: 'fill';
      readonly prefix: string;
      readonly suffix: string;
      readonly isLine: boolean;
      readonly goesOn: boolean;
      readonly language: Language;
      readonly tests: string | null;
      readonly line: string | null;
    }
  /** A question whose answer is a number: the last number in the text. */
  | { readonly form: 'number'; readonly prompt: string; readonly answer: number }
  | {
      readonly form: 'text';
      readonly prompt: string;
      readonly references: readonly string[];
      readonly metric: TextMetric;
    }
  /** One of some choices: the most probable by the model's log-likelihood, or the letter that it writes. */
  | {
      readonly form: 'choice';
      readonly prompt: string;
      readonly choices: readonly string[];
      readonly answer: number;
      readonly by: 'letter' | 'likelihood';
    };

export type Task = TaskForm & {
  /** Unlike that of any other task of its set. */
  readonly id: string;
  /** File and line, for messages. */
  readonly place: string;
  /** The data set's own solution; null if it has none as text. */
  readonly canonical: string | null;
};

/** Tasks of one file that are judged alike. */
export interface TaskSet {
  /** Such as `HumanEval`, or `mine: letter` if a file has several kinds. */
  readonly name: string;
  readonly tasks: readonly Task[];
}

/** How a task is judged, in a word. */
export const measureOf = (task: Task): string =>
  task.form === 'text' ? task.metric : task.form === 'choice' ? task.by : task.form;

/** Whether code is run to judge it. */
export const runsCode = (task: Task): task is Extract<Task, { form: 'code' | 'fill' }> =>
  task.form === 'code' || (task.form === 'fill' && task.tests !== null);

/** What a choice is called: A, B, C … */
export const letterOf = (choice: number): string => String.fromCharCode(65 + choice);
