/** Places and meshes as people write them. */
import { describe, expect, it } from 'vitest';
import { meshText, parseMesh, parsePlace, placeText } from '../../../../protocol/options/place.ts';

describe('a place', () => {
  it.each(['here', 'torchrun', 'torchrun:gpu-1,10.0.0.2,node.local', 'ray:http://127.0.0.1:8265', 'slurm'])(
    '%s is read and written',
    (text) => expect(placeText(parsePlace(text)!)).toBe(text),
  );

  it('keeps an address without its last slash', () => {
    expect(parsePlace('ray:https://cluster/')).toEqual({ kind: 'ray', url: 'https://cluster' });
  });

  it.each([
    'there',
    'here:x',
    'torchrun:',
    'torchrun:-oProxyCommand=x',
    'torchrun:a b',
    'torchrun:a;b',
    'ray',
    'ray:file:///etc',
    'ray:http://me:secret@cluster',
    'slurm:x',
  ])('%s is none', (text) => expect(parsePlace(text)).toBeNull());
});

describe('a mesh', () => {
  it('leaves out what is 1', () => {
    expect(parseMesh('tp=2,pp=4')).toEqual({ mesh: { pp: 4, dp: 1, tp: 2, shard: false } });
    expect(meshText(parseMesh('dp=8,shard')!.mesh!)).toBe('pp=1,dp=8,tp=1,shard');
    expect(parseMesh('auto')).toEqual({ mesh: null });
  });

  it.each(['', 'pp=0', 'pp=2,pp=2', 'xx=2', 'pp=2;dp=2', 'shard,shard', 'pp=-1', 'pp=2.5'])('%s is none', (text) =>
    expect(parseMesh(text)).toBeNull(),
  );
});
