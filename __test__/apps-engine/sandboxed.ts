import { readFileSync } from 'fs';
import { join } from 'path';
import type * as AppsEngine from '../../apps-engine';
import { ROOT } from '../helpers';

/** The file that apps import. */
export const source = readFileSync(join(ROOT, 'apps-engine', 'index.js'), 'utf8');

/** By prefix, as the Apps-Engine allows them. */
const ALLOWED =
  'path url crypto buffer stream net http https zlib util punycode os querystring fs uuid'.split(
    ' ',
  );

/** Evaluates text as the Apps-Engine does: what it hides, or has not, are parameters. */
export function sandboxed(text: string, host: Record<string, unknown> = {}): typeof AppsEngine {
  const module = { exports: {} };
  const hidden: Record<string, unknown> = {
    module,
    exports: module.exports,
    require: (id: string) => {
      if (!ALLOWED.some((allowed) => id.startsWith(allowed))) {
        throw new Error(`Module ${id} is not allowed`);
      }
      return require(id);
    },
    globalThis: undefined,
    global: undefined,
    process: undefined,
    setImmediate: undefined,
    Buffer,
    ...host,
  };
  new Function(...Object.keys(hidden), text)(...Object.values(hidden));
  return module.exports as typeof AppsEngine;
}
