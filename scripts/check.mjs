/** Checks types and lint with one program of TypeScript, where each would make its own. Prints what is wrong, and then ends with 1. */
import path from 'node:path';
import { ESLint } from 'eslint';
import ts from 'typescript';
import { fail, root } from './set-up.mjs';

const host = { ...ts.sys, onUnRecoverableConfigFileDiagnostic: (problem) => fail(textOf([problem])) };
const { fileNames, options, errors } = ts.getParsedCommandLineOfConfigFile(path.join(root, 'tsconfig.json'), {}, host);
const program = ts.createProgram(fileNames, options);
const problems = [...errors, ...ts.getPreEmitDiagnostics(program)];

const parserOptions = { projectService: false, programs: [program] };
const eslint = new ESLint({ cwd: root, overrideConfig: { files: ['**/*.ts'], languageOptions: { parserOptions } } });
const results = await eslint.lintFiles('.');
const { format } = await eslint.loadFormatter();

process.stdout.write(textOf(problems) + (await format(results)));
process.exitCode = problems.length > 0 || results.some(({ errorCount }) => errorCount > 0) ? 1 : 0;

function textOf(diagnostics) {
  const names = { getCanonicalFileName: (name) => name, getCurrentDirectory: () => root, getNewLine: () => '\n' };
  return ts.formatDiagnostics(diagnostics, names);
}
