/** What a newcomer has done: the steps of the walkthrough, each ticked by a context key of its own. Knows no `vscode`. */

export type Milestone = 'tune' | 'curves' | 'generate' | 'look' | 'model' | 'complete';

export const milestoneKey = (milestone: Milestone): string => `earlyExit.done.${milestone}`;
