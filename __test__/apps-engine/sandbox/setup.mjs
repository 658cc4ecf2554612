// Installs the real Apps-Engine, its compiler and its runtimes beside this file, from the npm
// registry alone, and makes the engine's Deno runtime start offline. Takes half a minute the first
// time, nothing after that.

import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const HERE = dirname(fileURLToPath(import.meta.url));
const MODULES = join(HERE, 'node_modules');
const CACHE = join(HERE, '.cache');

/** The engine of npm's newest version with a runtime, and one of early 2024 that needs Deno 1. */
const ENGINES = {
  '1.62.0': { deno: ['2.3', '2.9'] },
  '1.46.0': { deno: ['1.46'], package: 'apps-engine-1.46' },
};

/** What `host.cjs` needs to run an engine on a Deno. */
function enginePaths(engine, deno) {
  const root = join(CACHE, `engine-${engine}`);
  const own = ENGINES[engine].package !== undefined;
  return {
    folder: own ? join(root, 'apps-engine') : join(MODULES, '@rocket.chat', 'apps-engine'),
    root,
    path: join(CACHE, `deno-${deno}`),
    denoDir: join(CACHE, `deno-dir-${deno}-${engine}`),
    // The runtime is looked for in the folder of temporary files.
    temporary: join(CACHE, `tmp-${deno}-${engine}`),
  };
}

function nodePath(version) {
  return join(MODULES, `node-${version}`, 'bin', 'node');
}

function setUp() {
  const lock = readFileSync(join(HERE, 'package-lock.json'), 'utf8');
  const mark = join(CACHE, 'lock.json');
  if (existsSync(mark) && readFileSync(mark, 'utf8') === lock) return;
  rmSync(CACHE, { recursive: true, force: true });
  npm('ci', '--no-audit', '--no-fund');
  for (const [engine, { deno, package: name }] of Object.entries(ENGINES)) {
    for (const version of deno) prepare(engine, version, name);
  }
  writeFileSync(mark, lock);
}

function npm(...words) {
  const program = process.platform === 'win32' ? 'npm.cmd' : 'npm';
  execFileSync(program, words, { cwd: HERE, stdio: ['ignore', 'ignore', 'inherit'] });
}

function prepare(engine, version, name) {
  const paths = enginePaths(engine, version);
  const binary = join(MODULES, `deno-${version}`, 'deno');
  chmodSync(binary, 0o755);
  mkdirSync(paths.path, { recursive: true });
  mkdirSync(paths.temporary, { recursive: true });
  symlinkSync(binary, join(paths.path, 'deno'));
  if (name !== undefined && !existsSync(paths.folder)) {
    // Engines of that time take Deno from a package, and cannot run below node_modules.
    cpSync(join(MODULES, name), paths.folder, { recursive: true });
    writeFileSync(join(paths.root, 'package.json'), JSON.stringify({ version: engine }));
    const packaged = join(paths.root, 'node_modules', 'deno-bin');
    mkdirSync(join(packaged, 'bin'), { recursive: true });
    writeFileSync(join(packaged, 'package.json'), '{"name":"deno-bin","main":"index.js"}');
    writeFileSync(join(packaged, 'index.js'), '');
    symlinkSync(binary, join(packaged, 'bin', 'deno'));
    // It also looks for what Deno has cached in a folder of its own.
    symlinkSync(paths.denoDir, join(paths.folder, '.deno-cache'));
  }
  const runtime = join(paths.folder, 'deno-runtime');
  mendImports(paths.folder, runtime);
  symlinkSync(runtime, join(paths.temporary, 'deno-runtime'));
  mkdirSync(paths.denoDir, { recursive: true });
  const main = join(paths.temporary, 'deno-runtime', 'main.ts');
  const config = `--config=${join(runtime, 'deno.jsonc')}`;
  const words = version.startsWith('1.')
    ? ['cache', '--quiet', config, main]
    : ['install', '--quiet', config, '--entrypoint', main];
  execFileSync(binary, words, {
    env: { ...process.env, DENO_DIR: paths.denoDir, DENO_TLS_CA_STORE: 'system' },
    stdio: ['ignore', 'ignore', 'inherit'],
  });
}

/**
 * Of the engine, the runtime's import map alone is changed: three modules of jsr.io, which is no
 * part of the npm registry, become the few lines that are used of them; and where the runtime
 * takes a class from a source that the npm package lacks, it gets the compiled one.
 */
function mendImports(engine, runtime) {
  const path = join(runtime, 'deno.jsonc');
  rmSync(join(runtime, 'deno.lock'), { force: true });
  const config = JSON.parse(readFileSync(path, 'utf8'));
  if (config.mended) return;
  const shim = (name) => pathToFileURL(join(HERE, 'shims', name)).href;
  delete config.imports['@std/cli'];
  config.imports['@std/cli/parse-args'] = shim('std_cli_parse_args.js');
  config.imports['@std/io'] = shim('std_io.js');
  config.imports['@std/streams'] = shim('std_streams.js');
  config.imports['https://deno.land/std@0.216.0/io/write_all.ts'] = shim('std_io.js');
  const require = createRequire(join(engine, 'package.json'));
  const made = join(engine, 'compiled-classes');
  mkdirSync(made, { recursive: true });
  for (const source of sourcesIn(runtime)) {
    const imports = readFileSync(source, 'utf8').matchAll(
      /^import\s+(?!type\b)\{([^}]*)\}\s+from\s+'(@rocket\.chat\/apps-engine\/([^']+)\.ts)';/gm,
    );
    for (const [, list = '', specifier = '', module = ''] of imports) {
      const compiled = join(engine, `${module}.js`);
      if (!existsSync(compiled)) continue;
      const there = Object.keys(require(compiled));
      const names = list.split(',').map((name) => name.trim().split(' as ')[0] ?? '');
      const values = names.filter((name) => there.includes(name));
      if (values.length === 0) continue;
      const wrapper = join(made, `${module.replaceAll('/', '__')}.js`);
      writeFileSync(
        wrapper,
        `import { createRequire } from 'node:module';\n` +
          `export const { ${values.join(', ')} } = createRequire(import.meta.url)(${JSON.stringify(compiled)});\n`,
      );
      config.imports[specifier] = pathToFileURL(wrapper).href;
    }
  }
  writeFileSync(path, JSON.stringify({ ...config, mended: true }, null, 2));
}

function sourcesIn(folder) {
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter(({ name }) => name.endsWith('.ts') && !name.endsWith('.d.ts'))
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name))
    .filter((path) => !path.includes('/tests/'));
}

setUp();
const engines = Object.entries(ENGINES).flatMap(([engine, { deno }]) =>
  deno.map((version) => ({ engine, deno: version, ...enginePaths(engine, version) })),
);
const nodes = ['22', '24'].map((version) => ({ version, path: nodePath(version) }));
console.log(JSON.stringify({ engines, nodes }));
