import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { expect, it } from 'vitest';
import {
  freeExitsFolder,
  freePath,
  generateInFolder,
  modelInFolder,
} from '../../../../extension/settings/folder-paths.ts';
import { temporaryFolder } from '../../formats/fixtures.ts';

it("makes a folder's own paths absolute, and leaves names that are no paths", () => {
  const folder = temporaryFolder();
  mkdirSync(path.join(folder, 'models', 'own'), { recursive: true });
  mkdirSync(path.join(folder, 'typescript-5m'));
  const own = path.join(folder, 'models', 'own');
  expect(modelInFolder({ model: 'models/own' }, folder)).toEqual({ model: own });
  expect(modelInFolder({ model: './models/none' }, folder)).toEqual({ model: path.join(folder, 'models', 'none') });
  expect(modelInFolder({ model: 'owner/name' }, folder)).toEqual({});
  expect(modelInFolder({ model: 'typescript-5m' }, folder)).toEqual({});
  expect(modelInFolder({ model: 'models/own' }, undefined)).toEqual({});
  expect(generateInFolder({ model: 'models/own', exits: 'my.exits', seed: 1 }, [folder])).toEqual({
    model: own,
    exits: path.join(folder, 'my.exits'),
    seed: 1,
  });
  expect(generateInFolder({ exits: '/elsewhere' }, [folder])).toEqual({ exits: '/elsewhere' });
  // Of several folders, the first that has it.
  const other = temporaryFolder();
  const given = { model: 'models/own', exits: 'my.exits' };
  expect(generateInFolder(given, [other, folder])).toEqual({ model: own, exits: path.join(other, 'my.exits') });
  mkdirSync(path.join(folder, 'my.exits'));
  expect(generateInFolder(given, [other, folder])).toEqual({ model: own, exits: path.join(folder, 'my.exits') });
  expect(generateInFolder(given, [])).toEqual(given);
});

it('gives no two runs one folder, though the first has written nothing yet', () => {
  const folder = temporaryFolder();
  const [first, second, third] = ['m.exits', 'm-2.exits', 'm-3.exits'].map((name) => path.join(folder, name));
  expect(freeExitsFolder(folder, 'm', [])).toBe(first);
  expect(freeExitsFolder(folder, 'm', [{ state: 'running', directory: first! }])).toBe(second);
  expect(freeExitsFolder(folder, 'm', [{ state: 'finished', directory: first! }])).toBe(first);
  mkdirSync(first!);
  expect(freeExitsFolder(folder, 'm', [{ state: 'failed', directory: second! }])).toBe(third);
});

it('gives what is written a second time a name of its own', () => {
  const folder = temporaryFolder();
  mkdirSync(path.join(folder, 'm-exit-4'));
  expect(freePath(folder, 'm-exit-4')).toBe(path.join(folder, 'm-exit-4-2'));
});
