import { expect, it } from 'vitest';
import { largePages } from '../../../protocol/large-pages.ts';

it.each([
  ['asks glibc on Linux', {}, 'linux', { GLIBC_TUNABLES: 'glibc.malloc.hugetlb=1' }],
  [
    'keeps what else is tuned',
    { GLIBC_TUNABLES: 'glibc.malloc.check=3' },
    'linux',
    { GLIBC_TUNABLES: 'glibc.malloc.check=3:glibc.malloc.hugetlb=1' },
  ],
  ['leaves a decision of the user', { GLIBC_TUNABLES: 'glibc.malloc.hugetlb=0' }, 'linux', {}],
  ['is nothing elsewhere', {}, 'darwin', {}],
])('%s', (_, environment, platform, added) => expect(largePages(environment, platform)).toEqual(added));
