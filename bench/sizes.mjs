// How large what is published is.

import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';

const ROOT = fileURLToPath(new URL('../', import.meta.url));

export function sizes() {
  const found = [];
  for (const name of readdirSync(ROOT).filter((name) => name.endsWith('.node'))) {
    found.push({ name: `\`${name}\``, bytes: statSync(ROOT + name).size });
    found.push({ name: `\`${name}\`, gzipped`, bytes: gzipSync(readFileSync(ROOT + name)).length });
  }
  let scripts = 0;
  for (const name of readdirSync(`${ROOT}dist`).filter((name) => name.endsWith('.js'))) {
    scripts += statSync(`${ROOT}dist/${name}`).size;
  }
  found.push({ name: '`dist/*.js`', bytes: scripts });
  const sandbox = `${ROOT}apps-engine/index.js`;
  if (existsSync(sandbox)) {
    found.push({ name: '`apps-engine/index.js`', bytes: statSync(sandbox).size });
    found.push({
      name: '`apps-engine/index.js`, gzipped',
      bytes: gzipSync(readFileSync(sandbox)).length,
    });
  }
  return found;
}
