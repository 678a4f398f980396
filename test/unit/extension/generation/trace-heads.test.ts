import { expect, it } from 'vitest';
import { traceHeads } from '../../../../extension/generation/trace-heads.ts';

const file = [
  'exittrace 1',
  'layers 12',
  'exits 3:mlp 6:mlp final',
  '',
  'line "ab"',
  '3 3:mlp 0.9 1 "a"',
  '  | 3:mlp 0.9 1 "a" 0.9',
  '12 final 0.9 2 "b" draft 6:mlp accepted',
  '',
].join('\n');

it('finds layer and exit of each token line, with the shade of who said it', () => {
  expect(traceHeads(file)).toEqual([
    { shade: 'exit1', line: 5, length: '3 3:mlp'.length },
    { shade: 'exit6', line: 7, length: '12 final'.length },
  ]);
});

it('finds none without exits, or where the file is wrong', () => {
  expect(traceHeads(file.replace('exits 3:mlp 6:mlp final', 'exits final'))).toEqual([]);
  expect(traceHeads('exittrace 1\nlayers many\n')).toEqual([]);
});
