import { execFileSync } from 'child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'fs';
import { tmpdir } from 'os';
import { join } from 'path';
import * as ts from 'typescript';
import type * as AppsEngine from '../apps-engine';
import { sandboxed, source } from './apps-engine/sandboxed';
import { codeOf, ROOT } from './helpers';

/** Without the module itself, in whose base64 any text may stand by chance. */
const code = source.replace(/"[\w+/=]{100000,}"/, '""');

describe('the file', () => {
  test('has nothing that the sandbox lacks, or rewrites', () => {
    const found = [
      /\bprocess\b/,
      /\bimport\.meta\b/,
      /\b__dirname\b|\b__filename\b/,
      /\bWorker\b/,
      /\bsetImmediate\b/,
      /\bglobalThis\b/,
      /\.unref\(/,
      /['"]node:/,
      /\b\d+n\b/,
      /\.usernames/,
      /\.isOnline\(/,
      /\.createToken\(/,
    ].filter((forbidden) => forbidden.test(code));
    expect(found).toEqual([]);
    expect(code.length).toBeLessThan(source.length / 2);
    const required = [...code.matchAll(/\brequire\("([^"]*)"\)/g)].map(([, id]) => id);
    expect([...new Set(required)].sort()).toEqual(['crypto', 'stream', 'util', 'zlib']);
  });

  test('is less than 1.5 MB', () => {
    expect(source.length).toBeLessThan(1_500_000);
  });

  test('does nothing before it is used', () => {
    const touched: string[] = [];
    const never = (name: string) =>
      new Proxy(class {}, {
        get: (_, member) => touched.push(`${name}.${String(member)}`),
        construct: () => {
          touched.push(name);
          return {};
        },
      });
    const names = ['Buffer', 'crypto', 'TextEncoder', 'TextDecoder', 'WebAssembly', 'setTimeout'];
    sandboxed(source, Object.fromEntries(names.map((name) => [name, never(name)])));
    expect(touched).toEqual([]);
  });

  test('works without globals, and where timers are numbers', async () => {
    const library = sandboxed(source, {
      setTimeout: (work: () => void, ms: number) => Number(setTimeout(work, ms)),
    });
    const key = library.RoomKey.generate();
    const identity = await library.Identity.generate();
    const opened = await identity.unwrapRoomKey(await key.wrapFor(identity.publicKey));
    expect(opened.decrypt(key.encrypt({ msg: 'hello' }))).toEqual({ msg: 'hello' });
  });

  test('finds randomness where there is no global crypto', () => {
    const { RoomKey } = sandboxed(source, { crypto: undefined });
    expect(RoomKey.generate().keyId).not.toBe(RoomKey.generate().keyId);
  });
});

describe('after a bug', () => {
  const instances = () => {
    let failing = false;
    const library = sandboxed(source, {
      crypto: {
        getRandomValues: (bytes: Uint8Array) => {
          if (failing) throw new RangeError('no randomness');
          return crypto.getRandomValues(bytes);
        },
      },
    });
    return {
      ...library,
      fail: async (call: () => unknown) => {
        failing = true;
        try {
          return await codeOf(call);
        } finally {
          failing = false;
        }
      },
    };
  };

  test('the call fails with a code, and the next thing is made anew', async () => {
    const { RoomKey, fail } = instances();
    const key = RoomKey.generate();
    const content = key.encrypt({ msg: 'hello' });
    expect(await fail(() => RoomKey.generate())).toBe('ERR_E2EE_INTERNAL');
    const next = RoomKey.generate();
    expect(next.decrypt(next.encrypt({ msg: 'hello' }))).toEqual({ msg: 'hello' });
    // What the broken instance holds is not trusted any more, and says so.
    expect(await codeOf(() => key.decrypt(content))).toBe('ERR_E2EE_INTERNAL');
    expect(next.decrypt(next.encrypt({ msg: 'still' }))).toEqual({ msg: 'still' });
  });

  test('what came before cannot get into what comes after, nor break it', async () => {
    const { MemoryStore, Participant, RoomKey, fail } = instances();
    const store = await MemoryStore.open();
    expect(await fail(() => RoomKey.generate())).toBe('ERR_E2EE_INTERNAL');
    const key = RoomKey.generate();
    const workspace = { userId: 'u' } as AppsEngine.Workspace;
    const options = { appId: 'a', workspace, store, rooms: [] };
    expect(await codeOf(() => Participant.open(options))).toBe('ERR_E2EE_INTERNAL');
    expect(key.decrypt(key.encrypt({ msg: 'hello' }))).toEqual({ msg: 'hello' });
  });

  test('bad input is not a bug: the key goes on', async () => {
    const { RoomKey } = instances();
    const key = RoomKey.generate();
    const content = key.encrypt({ msg: 'hello' });
    expect(await codeOf(() => key.decrypt('x'))).toBe('ERR_E2EE_MALFORMED_ENVELOPE');
    const changed = JSON.stringify({ ...content, iv: 'AAAAAAAAAAAAAAAA' });
    expect(await codeOf(() => key.decrypt(changed))).toBe('ERR_E2EE_DECRYPTION_FAILED');
    expect(key.decrypt(content)).toEqual({ msg: 'hello' });
  });

  test('an exhausted stack breaks at most what was in use', () => {
    const { RoomKey } = instances();
    const key = RoomKey.generate();
    const content = key.encrypt({ msg: 'hello' });
    const outcomes = new Set<unknown>();
    const dive = () => {
      try {
        dive();
      } catch {
        // The deepest; those above it try.
      }
      try {
        outcomes.add(key.decrypt(content).msg);
      } catch (error) {
        const { code, name } = error as { code?: string; name: string };
        outcomes.add(code ?? name);
      }
    };
    dive();
    for (const outcome of outcomes) {
      expect(['hello', 'RangeError', 'ERR_E2EE_INTERNAL']).toContain(outcome);
    }
    expect(outcomes.size).toBeGreaterThan(1);
    const next = RoomKey.generate();
    expect(next.decrypt(next.encrypt({ msg: 'hello' }))).toEqual({ msg: 'hello' });
  });
});

describe('rocketchat-e2ee vendor', () => {
  const PROGRAM = join(ROOT, 'dist', 'cli', 'main.js');
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'rocketchat-e2ee-'));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  const vendor = (...words: string[]) =>
    execFileSync(process.execPath, [PROGRAM, 'vendor', ...words], {
      encoding: 'utf8',
      stdio: 'pipe',
    });

  const APP = `
    import { E2eeError, Identity, Participant, RoomKey } from './rocketchat-e2ee';
    import type { MessageContent } from './rocketchat-e2ee';

    export class App {
      public async run(): Promise<string> {
        const key: RoomKey = RoomKey.generate();
        const { msg }: MessageContent = key.decrypt(key.encrypt({ msg: 'hello' }));
        try {
          key.decrypt('x');
        } catch (error) {
          return msg + ' ' + (error as E2eeError).code;
        }
        return '';
      }
      public open(): Promise<Participant> | Identity { throw new Error(); }
    }
    // @ts-expect-error content needs a msg
    export const wrong = (key: RoomKey) => key.encrypt({ text: 'hello' });
  `;

  test('gives an app one file with types, which packs and runs as apps-cli does it', async () => {
    expect(vendor(folder)).toContain('rocketchat-e2ee.ts');
    writeFileSync(join(folder, 'App.ts'), APP);
    // The options of apps-cli 1.9.0, which compiles every file of the folder.
    const program = ts.createProgram(
      ['App.ts', 'rocketchat-e2ee.ts'].map((name) => join(folder, name)),
      {
        target: ts.ScriptTarget.ES2017,
        module: ts.ModuleKind.CommonJS,
        moduleResolution: ts.ModuleResolutionKind.Node10,
        noImplicitAny: false,
        strictNullChecks: true,
        noImplicitReturns: true,
        removeComments: true,
        skipLibCheck: true,
        types: ['node'],
        typeRoots: [join(ROOT, 'node_modules', '@types')],
      },
    );
    const problems = ts
      .getPreEmitDiagnostics(program)
      .filter(({ file }) => file?.fileName.startsWith(folder.replaceAll('\\', '/')));
    expect(problems.map(({ messageText }) => messageText)).toEqual([]);
    program.emit();
    const library = readFileSync(join(folder, 'rocketchat-e2ee.js'), 'utf8');
    // It is packed where `require` gives nothing for most modules, and there is no `module`.
    const packed = {};
    new Function('exports', 'require', 'module', 'Buffer', library)(packed, (id: string) =>
      ['crypto', 'stream'].includes(id) ? require(id) : undefined,
    );
    expect(packed).toHaveProperty('RoomKey');
    const app = readFileSync(join(folder, 'App.js'), 'utf8');
    const exports = sandboxed(library);
    const { App } = sandboxed(app, { require: () => exports }) as unknown as {
      App: new () => { run(): Promise<string> };
    };
    expect(await new App().run()).toBe('hello ERR_E2EE_MALFORMED_ENVELOPE');
  }, 60_000);

  test('writes over its own file, and over no other', () => {
    vendor(folder);
    vendor(folder);
    writeFileSync(join(folder, 'rocketchat-e2ee.ts'), 'mine');
    expect(() => vendor(folder)).toThrow(/is there already/);
    expect(readFileSync(join(folder, 'rocketchat-e2ee.ts'), 'utf8')).toBe('mine');
    expect(() => vendor(join(folder, 'none'))).toThrow(/is not a folder/);
    expect(() => vendor()).toThrow(/Usage/);
  });
});
