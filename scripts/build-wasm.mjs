// Builds `crates/wasm`, its glue, and `apps-engine/index.js` with both inside.
// Arguments are passed on to `cargo build`.

import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { deflateRawSync } from 'node:zlib';
import { build, transformSync } from 'esbuild';

const TARGET = 'wasm32-unknown-unknown';
const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..');
const CARGO = process.env.CARGO ?? 'cargo';
const OPTIONS = process.argv.slice(2);

function run(program, ...words) {
  const { status, error } = spawnSync(program, words, { cwd: ROOT, stdio: 'inherit' });
  if (error) console.error(error.message);
  return status === 0;
}

/** Rust's standard library for the target; with -Zbuild-std, cargo makes it. */
function ensureTarget() {
  if (OPTIONS.some((option) => option.startsWith('-Zbuild-std'))) return;
  const libraries = spawnSync('rustc', ['--print', 'target-libdir', '--target', TARGET]);
  if (existsSync(String(libraries.stdout).trim())) return;
  if (run('rustup', 'target', 'add', TARGET)) return;
  console.error(`
Rust's standard library for ${TARGET} is missing, and rustup could not fetch it.
Either run 'rustup target add ${TARGET}' where rustup has a network, or, on Debian:

  apt-get install rustc-web cargo-web rust-web-src lld-19
  RUSTC_BOOTSTRAP=1 RUSTC=/usr/bin/rustc CARGO=/usr/bin/cargo \\
    CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=wasm-ld-19 \\
    npm run build:wasm -- -Zbuild-std=std,panic_abort
`);
  process.exit(1);
}

function ensure(done) {
  if (!done) process.exit(1);
}

ensureTarget();
const words = ['--locked', '--package', 'rocketchat-e2ee-wasm', '--profile', 'wasm'];
ensure(run(CARGO, 'build', ...words, '--target', TARGET, ...OPTIONS));
const metadata = ['metadata', '--no-deps', '--format-version', '1'];
const target = JSON.parse(execFileSync(CARGO, metadata, { cwd: ROOT })).target_directory;
const module = join(target, TARGET, 'wasm', 'rocketchat_e2ee_wasm.wasm');
const glue = join(target, 'wasm-glue');
ensure(
  run(
    'cargo',
    'run',
    '--locked',
    '--package',
    'wasm-glue',
    '--profile',
    'tool',
    '--',
    module,
    glue,
  ),
);

/**
 * The glue copies text into the module character by character, which takes longer than most of what
 * is done with it there. All but short texts go in one piece.
 */
function copyTextFaster(glue) {
  const start = /^function passStringToWasm0\(arg, malloc, realloc\) \{$/m;
  if (!start.test(glue)) throw new Error('wasm-bindgen passes text in another way than it did');
  return glue.replace(
    start,
    `$&
  if (arg.length > 32) {
    const bytes = Buffer.byteLength(arg);
    const start = malloc(bytes, 1) >>> 0;
    cachedTextEncoder.encodeInto(arg, getUint8ArrayMemory0().subarray(start, start + bytes));
    WASM_VECTOR_LEN = bytes;
    return start;
  }`,
  );
}

/** The module and its glue: a function, so that nothing of it runs before it is called. */
const wasm = {
  name: 'wasm',
  setup({ onLoad, onResolve }) {
    onResolve({ filter: /^\.{1,2}\/native$/ }, () => ({ path: join(ROOT, 'lib', 'wasm.ts') }));
    onResolve({ filter: /^rocketchat-e2ee:wasm$/ }, ({ path }) => ({ path, namespace: 'wasm' }));
    onLoad({ filter: /.*/, namespace: 'wasm' }, () => {
      const source = copyTextFaster(readFileSync(join(glue, 'binding_bg.js'), 'utf8'));
      const { code } = transformSync(source, { format: 'cjs' });
      const module = readFileSync(join(glue, 'binding_bg.wasm'));
      const bytes = deflateRawSync(module, { level: 9 }).toString('base64');
      return {
        contents: `
          export function makeGlue(crypto) { const module = {}; ${code} return module.exports; }
          export const bytes = ${JSON.stringify(bytes)};`,
      };
    });
  },
};

const bundle = (entry, outfile, options) =>
  build({
    ...options,
    entryPoints: [join(ROOT, 'lib', entry)],
    outfile: join(ROOT, outfile),
    bundle: true,
    format: 'cjs',
    platform: 'node',
    // The Apps-Engine has other modules of Node.js, but not this one.
    alias: { events: join(ROOT, 'node_modules', 'events') },
    // What a server compiles an app's files to.
    target: 'node10',
    charset: 'utf8',
    plugins: [wasm],
    logLevel: 'warning',
  });

await bundle('apps-engine.ts', 'apps-engine/index.js');
// The binding by itself, for tests.
await bundle('wasm.ts', 'binding.wasm.js', { footer: { js: 'module.exports = native;' } });
