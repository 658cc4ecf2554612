import { execFileSync } from 'child_process';
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'fs';
import { tmpdir } from 'os';
import { join } from 'path';
import { ROOT } from './helpers';

/** A project beside the checkout that has installed the package. */
let project: string;

beforeAll(() => {
  project = mkdtempSync(join(tmpdir(), 'rocketchat-e2ee-'));
  mkdirSync(join(project, 'node_modules'));
  symlinkSync(ROOT, join(project, 'node_modules', 'rocketchat-e2ee'), 'junction');
  for (const types of ['@types', 'undici-types']) {
    symlinkSync(
      join(ROOT, 'node_modules', types),
      join(project, 'node_modules', types),
      'junction',
    );
  }
});

afterAll(() => rmSync(project, { recursive: true }));

function run(file: string, source: string): string {
  writeFileSync(join(project, file), source);
  return execFileSync(process.execPath, [file], { cwd: project, encoding: 'utf8' }).trim();
}

const NAMES = [
  'AppsEngineWorkspace',
  'E2eeError',
  'Identity',
  'MemoryStore',
  'Participant',
  'PersistenceStore',
  'RealtimeWorkspace',
  'RestWorkspace',
  'RoomKey',
  'SqliteStore',
  'decryptFile',
  'decryptFileStream',
  'encryptFile',
  'encryptFileStream',
  'encryptedContentOf',
  'generatePassphrase',
];

test('require finds every name, and no other', () => {
  const names = run('a.js', "console.log(Object.keys(require('rocketchat-e2ee')).sort().join())");
  expect(names).toBe(NAMES.join());
});

test('import finds every name', () => {
  const source = `import { ${NAMES.join(', ')} } from 'rocketchat-e2ee';
    console.log([${NAMES.join(', ')}].every((value) => typeof value === 'function'),
      RoomKey.generate() instanceof RoomKey)`;
  expect(run('a.mjs', source)).toBe('true true');
});

// What needs Node.js or a connection of its own stays outside.
const APP_NAMES = NAMES.filter((name) => !/Workspace$|^Sqlite/.test(name));

test('apps find every name of theirs, and no other', () => {
  const names = run(
    'c.js',
    "console.log(Object.keys(require('rocketchat-e2ee/apps-engine')).sort().join())",
  );
  expect(names).toBe(APP_NAMES.join());
  const source = `import { ${APP_NAMES.join(', ')} } from 'rocketchat-e2ee/apps-engine';
    console.log(RoomKey.generate() instanceof RoomKey)`;
  expect(run('c.mjs', source)).toBe('true');
});

const CONSUMER = `
  import { encryptedContentOf, encryptFileStream, E2eeError, Identity, RoomKey } from 'rocketchat-e2ee';
  import type { E2eeErrorCode, EncryptedContent, MessageContent } from 'rocketchat-e2ee';

  export async function answer(message: object, key: RoomKey): Promise<EncryptedContent | undefined> {
    const content = encryptedContentOf(message);
    if (content === undefined) return undefined;
    const { msg, attachments }: MessageContent = key.decrypt(content);
    const hash: string | undefined = attachments?.[0]?.hashes?.sha256;
    const all = await key.decryptMany([content, 'text']);
    const failed: E2eeErrorCode[] = [];
    for (const one of all) if (one instanceof E2eeError) failed.push(one.code);
    const stream = encryptFileStream('name');
    process.stdin.pipe(stream).pipe(process.stdout);
    const identity: Identity = await Identity.unlock('', '', '');
    const wrapped: string = await key.wrapFor(identity.publicKey);
    return key.encrypt({ msg: msg + hash + wrapped + stream.encryption.key.k + failed.join() });
  }
  // @ts-expect-error content needs a msg
  export const wrong = (key: RoomKey) => key.encrypt({ text: 'hello' });
  // @ts-expect-error keys are made by static methods
  export const made = () => new RoomKey();
`;

test.each([
  ['typescript', 'node10', 'commonjs'],
  ['typescript', 'node16', 'node16'],
  ['typescript', 'bundler', 'esnext'],
  // What Apps-Engine apps compile with.
  ['typescript-4', 'node', 'commonjs'],
  ['typescript-4', 'node16', 'node16'],
])(
  'types hold under %s, module resolution %s',
  (compiler, moduleResolution, module) => {
    const files = ['consumer.ts', 'consumer.mts', 'app.ts'];
    const app = CONSUMER.replace("from 'rocketchat-e2ee'", "from 'rocketchat-e2ee/apps-engine'");
    for (const file of files) {
      writeFileSync(join(project, file), file === 'app.ts' ? app : CONSUMER);
    }
    const compilerOptions = {
      target: 'ES2017',
      lib: ['ES2018', 'ESNext.AsyncIterable'],
      module,
      moduleResolution,
      strict: true,
      exactOptionalPropertyTypes: true,
      noEmit: true,
      preserveSymlinks: true,
      // Ours are checked; Node's own are written for newer compilers.
      skipLibCheck: compiler === 'typescript-4',
      types: ['node'],
    };
    writeFileSync(join(project, 'tsconfig.json'), JSON.stringify({ compilerOptions, files }));
    const tsc = join(ROOT, 'node_modules', compiler, 'lib', 'tsc.js');
    try {
      execFileSync(process.execPath, [tsc, '-p', project], { encoding: 'utf8' });
    } catch (error) {
      throw new Error((error as { stdout: string }).stdout);
    }
  },
  30_000,
);

test('without a binary, the error says what to do', () => {
  const copy = join(project, 'without-binary');
  mkdirSync(copy);
  for (const file of ['package.json', 'binding.js', 'dist']) {
    cpSync(join(ROOT, file), join(copy, file), { recursive: true });
  }
  const message = run(
    'b.js',
    "try { require('./without-binary') } catch (e) { console.log(e.name, e.code, e.message) }",
  );
  expect(message).toMatch(/^E2eeError ERR_E2EE_UNSUPPORTED_PLATFORM .*npm run build/);
});

test('inside an app, the error says what to import instead', () => {
  const copy = join(project, 'without-binary');
  const source = readFileSync(join(copy, 'dist', 'native.js'), 'utf8');
  // As the Apps-Engine runs an app: what it hides are parameters.
  const load = new Function('exports', 'require', 'globalThis', 'process', source);
  const sandboxed = (id: string) => {
    if (id.startsWith('./')) return require(join(copy, 'dist', id));
    throw new Error(`Module ${id} is not allowed`);
  };
  expect(() => load({}, sandboxed, undefined, undefined)).toThrow(
    expect.objectContaining({
      code: 'ERR_E2EE_UNSUPPORTED_PLATFORM',
      message: expect.stringContaining("'rocketchat-e2ee/apps-engine'"),
    }),
  );
});

test('every code of the core has its place in the types', () => {
  const codes = (file: string) => [
    ...new Set(readFileSync(join(ROOT, file), 'utf8').match(/ERR_E2EE_[A-Z_]*[A-Z]/g)),
  ];
  const types = codes('index.d.ts');
  const core = codes('crates/core/src/error.rs');
  expect(core.length).toBeGreaterThan(5);
  expect(types).toEqual(expect.arrayContaining(core));
  expect(readFileSync(join(ROOT, 'lib/errors.ts'), 'utf8').match(/ {2}\| 'ERR_/g)).toHaveLength(
    types.length,
  );
});

test('npm packs what is needed, and no more', () => {
  const [{ files }] = JSON.parse(
    execFileSync('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], {
      cwd: ROOT,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
      shell: process.platform === 'win32',
    }),
  ) as [{ files: { path: string }[] }];
  const paths = files.map(({ path }) => path);
  expect(paths).toEqual(
    expect.arrayContaining([
      'index.d.ts',
      'binding.js',
      'dist/index.js',
      'README.md',
      'LICENSE',
      'apps-engine/index.d.ts',
      'apps-engine/index.js',
      'apps-engine/package.json',
    ]),
  );
  expect(paths.filter((path) => /\.node$|^(src|crates|__test__|target|lib)\//.test(path))).toEqual(
    [],
  );
});
