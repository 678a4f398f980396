import tseslint from 'typescript-eslint';

/**
 * The arrows of the architecture (docs/architecture.md): each folder and what it may import. A folder always sees itself.
 * `extension/` and `webview/` see `protocol/` alone.
 */
const backend = {
  system: [],
  hub: ['system'],
  formats: ['system'],
  model: ['system', 'formats'],
  data: ['system', 'formats', 'model'],
  grammar: ['data'],
  onnx: ['system', 'model'],
  ggml: ['system', 'formats', 'model'],
  autodiff: ['model', 'onnx'],
  exits: ['formats', 'model', 'autodiff'],
  runtime: ['system', 'formats', 'model', 'ggml', 'exits'],
  devices: ['system', 'formats', 'model', 'ggml', 'exits', 'runtime'],
  checkpoint: ['system', 'formats', 'model', 'exits'],
  cluster: ['system', 'formats', 'model', 'exits', 'devices', 'checkpoint'],
  features: ['system', 'model', 'runtime'],
  decoding: ['model', 'exits', 'runtime', 'data', 'checkpoint'],
  tuning: ['model', 'data', 'onnx', 'autodiff', 'exits', 'runtime', 'devices', 'checkpoint', 'features'],
  evaluation: ['system', 'model', 'data', 'exits', 'runtime', 'devices', 'checkpoint', 'features', 'decoding'],
  export: ['system', 'formats', 'model', 'data', 'ggml', 'exits', 'runtime'],
  recipes: [
    'system',
    'hub',
    'formats',
    'model',
    'data',
    'grammar',
    'exits',
    'runtime',
    'devices',
    'checkpoint',
    'cluster',
    'features',
    'decoding',
    'tuning',
    'evaluation',
    'export',
  ],
  worker: ['recipes'],
  server: ['worker', 'recipes'],
  'language-server': ['system', 'hub', 'data', 'worker', 'recipes', 'server'],
  cli: ['worker', 'recipes', 'server', 'language-server'],
};
const allowed = {
  protocol: [],
  extension: ['protocol'],
  webview: ['protocol'],
  ...Object.fromEntries(
    Object.entries(backend).map(([folder, below]) => [
      `backend/${folder}`,
      ['protocol', ...below.map((name) => `backend/${name}`)],
    ]),
  ),
};

const folders = Object.keys(allowed);
const importRules = folders.map((folder) => {
  const forbidden = folders.filter((other) => other !== folder && !allowed[folder].includes(other));
  const packages = [
    ...(folder === 'backend/onnx' ? [] : ['onnxruntime-node', 'onnxruntime-common']),
    ...(folder === 'backend/ggml' ? [] : ['koffi']),
    ...(['backend/autodiff', 'backend/exits', 'backend/tuning'].includes(folder) ? [] : ['@tensorflow/*']),
    ...(folder === 'extension' ? [] : ['vscode', 'vscode-languageclient*']),
  ];
  return {
    files: [`${folder}/**/*.ts`],
    rules: {
      'no-restricted-imports': [
        'error',
        {
          patterns: [
            ...forbidden.map((other) => ({
              regex: `(^|/)${other.replace('backend/', folder.startsWith('backend/') ? '\\.\\./(\\.\\./)*' : 'backend/')}/`,
              message: `${folder}/ must not import ${other}/ (docs/architecture.md).`,
            })),
            ...(packages.length ? [{ group: packages, message: `${folder}/ must not import this package.` }] : []),
          ],
        },
      ],
    },
  };
});

export default tseslint.config(
  { ignores: ['dist', 'node_modules', '.cache', 'test/fixtures', '.vscode-test'] },
  ...tseslint.configs.recommendedTypeChecked,
  {
    languageOptions: {
      parserOptions: { projectService: { allowDefaultProject: ['*.js'] }, tsconfigRootDir: import.meta.dirname },
    },
    rules: {
      '@typescript-eslint/no-explicit-any': 'error',
      '@typescript-eslint/no-floating-promises': 'error',
      '@typescript-eslint/no-misused-promises': 'error',
      '@typescript-eslint/switch-exhaustiveness-check': 'error',
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/require-await': 'off',
      eqeqeq: 'error',
    },
  },
  { files: ['**/*.js', '**/*.mjs'], ...tseslint.configs.disableTypeChecked },
  ...importRules,
);
