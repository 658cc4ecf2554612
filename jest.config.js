const shared = {
  // Installed there: nothing of ours, and much of it twice.
  modulePathIgnorePatterns: ['<rootDir>/__test__/apps-engine/sandbox/(\\.cache|node_modules)'],
  testEnvironment: 'node',
  transform: {
    '^.+\\.ts$': [
      '@swc/jest',
      { jsc: { parser: { syntax: 'typescript' }, target: 'es2022' }, module: { type: 'commonjs' } },
    ],
  },
};

/** What both builds have to do alike. */
const BEHAVIOUR = ['bad-input', 'core', 'interop', 'participant', 'vault'];

/** @type {import('jest').Config} */
module.exports = {
  // One worker less than cores, as by default, would leave a small machine idle.
  maxWorkers: '100%',
  // A busy machine is no failure.
  testTimeout: 30_000,
  projects: [
    {
      ...shared,
      displayName: 'addon',
      testMatch: ['<rootDir>/__test__/**/*.test.ts'],
    },
    {
      ...shared,
      displayName: 'wasm',
      testMatch: BEHAVIOUR.map((name) => `<rootDir>/__test__/${name}.test.ts`),
      moduleNameMapper: {
        '^\\.\\.$': '<rootDir>/__test__/wasm-build.ts',
        '^\\.\\./binding\\.js$': '<rootDir>/binding.wasm.js',
      },
    },
  ],
};
