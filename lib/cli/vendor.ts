import { existsSync, readFileSync, statSync, writeFileSync } from 'fs';
import { join, resolve } from 'path';
import { CliError, usage } from './failure';

const FILE = 'rocketchat-e2ee.ts';
const MARK = '// @ts-nocheck -- written by `rocketchat-e2ee vendor`';
const PACKAGE = resolve(__dirname, '..', '..');

/**
 * Writes the library into the folder of an app, for compilers that bundle no dependencies: the
 * one of `@rocket.chat/apps-cli` 1.9.0. It takes `.ts` files alone, and stumbles over `.d.ts`, so
 * that types and code are in one; it packs the app with nothing but `require` and `exports` there.
 *
 * @returns the file that was written
 */
export function vendor(folder: string): string {
  if (!statSync(folder, { throwIfNoEntry: false })?.isDirectory()) {
    throw usage(`${folder} is not a folder`);
  }
  const path = join(folder, FILE);
  if (existsSync(path) && !readFileSync(path, 'utf8').startsWith(MARK)) {
    throw new CliError('EEXIST', `${path} is there already, and is not what this command writes`);
  }
  const read = (...names: string[]) => readFileSync(join(PACKAGE, ...names), 'utf8');
  const { version } = JSON.parse(read('package.json')) as { version: string };
  writeFileSync(
    path,
    [
      `${MARK} (${version}); do not edit`,
      // Imports of types that the compiled file must not have: apps may not require `events`.
      read('apps-engine', 'index.d.ts')
        .replace(/^import \{/gm, 'import type {')
        .replace(/^export \{\};$/m, ''),
      'Object.assign(exports, (() => {',
      'const module = { exports: {} };',
      read('apps-engine', 'index.js'),
      'return module.exports;',
      '})());',
      '',
    ].join('\n'),
  );
  return path;
}
