import { readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { configSchema, settingsPage } from '../../../../protocol/options/documents.ts';
import { settingGroups } from '../../../../protocol/options/groups.ts';
import {
  commandNames,
  optionTables,
  parseOptions,
  settingName,
  type OptionTable,
} from '../../../../protocol/options/options.ts';

const root = path.resolve(import.meta.dirname, '../../../..');
const read = (file: string): string => readFileSync(path.join(root, file), 'utf8');
const stale = 'stale: run npm run docs';

describe('generated documents', () => {
  it('are those of the options', () => {
    expect(read('docs/settings.md'), stale).toBe(settingsPage());
    for (const command of commandNames) {
      expect(JSON.parse(read(`docs/schemas/${command}.schema.json`)), stale).toEqual(configSchema(command));
    }
  });

  it('give every setting a name, once', () => {
    const names = settingGroups.flatMap(({ options }) =>
      Object.entries(options as OptionTable).flatMap(([name, option]) => settingName(option, name) ?? []),
    );
    expect(new Set(names).size).toBe(names.length);
    expect(names).toContain('earlyExit.tuning.learningRate');
    expect(names).toContain('earlyExit.exits');
    expect(names).toContain('earlyExit.decoding.exits');
    for (const name of names) {
      // A setting that is also the beginning of another one cannot be set.
      expect(names.filter((other) => other.startsWith(`${name}.`))).toEqual([]);
    }
  });

  it('allow the least value of a number where the option does', () => {
    for (const command of commandNames) {
      const { properties } = configSchema(command) as { readonly properties: Readonly<Record<string, object>> };
      for (const [name, option] of Object.entries(optionTables[command] as OptionTable)) {
        if (option.minimum !== null) expect('minimum' in properties[name]!, name).toBe(option.read(option.minimum).ok);
      }
    }
    expect(configSchema('tune')).toMatchObject({ properties: { minutes: { exclusiveMinimum: 0 } } });
    expect(settingsPage()).toMatch(/`--held-out-fraction`.* Above 0, at most 0\.9\. \|$/m);
  });

  it('have defaults that their own command takes', () => {
    for (const command of commandNames) {
      const table: OptionTable = optionTables[command];
      const defaults = Object.fromEntries(Object.entries(table).map(([name, option]) => [name, option.default]));
      const ending = command === 'tune' ? { minutes: 10 } : {};
      expect(() => parseOptions(command, { ...defaults, ...ending })).not.toThrow();
    }
  });
});
