import { describe, expect, it } from 'vitest';
import { childEnvironment, findProgram } from '../../../protocol/programs.ts';

const find = (
  name: string,
  platform: string,
  environment: Record<string, string>,
  ...programs: string[]
): string | null => findProgram(name, { platform, environment, isProgram: (path) => programs.includes(path) });

describe('findProgram', () => {
  it('takes the first of PATH, and never what depends on the working directory', () => {
    expect(find('node', 'linux', { PATH: '/a:/b/:/c' }, '/b/node', '/c/node')).toBe('/b/node');
    const here = ['node', './node', '/node', 'bin/node', '../node'];
    expect(find('node', 'linux', { PATH: ':.:./bin:bin:..' }, ...here)).toBeNull();
    expect(find('node', 'linux', { PATH: '.:/usr/bin' }, ...here, '/usr/bin/node')).toBe('/usr/bin/node');
    expect(find('node', 'linux', {}, ...here)).toBeNull();
  });

  it('takes an absolute path as it is, and refuses a relative one', () => {
    expect(find('/opt/node', 'linux', {}, '/opt/node')).toBe('/opt/node');
    expect(find('/opt/node', 'linux', {})).toBeNull();
    expect(find('./node', 'linux', { PATH: '/a' }, './node', '/a/./node')).toBeNull();
    expect(find('C:\\n\\node.exe', 'win32', {}, 'C:\\n\\node.exe')).toBe('C:\\n\\node.exe');
    expect(find('n\\node.exe', 'win32', { Path: 'C:\\a' }, 'n\\node.exe', 'C:\\a\\n\\node.exe')).toBeNull();
  });

  it('looks on Windows for .exe alone, in absolute folders alone', () => {
    const Path = '.;;bin;\\bin;C:bin;"C:\\Program Files\\nodejs\\"';
    const own = ['node.exe', '.\\node.exe', '\\bin\\node.exe', 'C:bin\\node.exe', 'bin\\node.exe'];
    const real = 'C:\\Program Files\\nodejs\\node.exe';
    expect(find('node', 'win32', { Path }, ...own)).toBeNull();
    expect(find('node', 'win32', { Path }, ...own, real)).toBe(real);
    expect(find('node.exe', 'win32', { PATH: Path }, real)).toBe(real);
    expect(find('npm', 'win32', { Path: 'C:\\n' }, 'C:\\n\\npm.cmd', 'C:\\n\\npm')).toBeNull();
  });
});

it('keeps the children of a program from looking where they work', () => {
  expect(childEnvironment('win32')).toEqual({ NoDefaultCurrentDirectoryInExePath: '1' });
  expect(childEnvironment('linux')).toEqual({});
});
