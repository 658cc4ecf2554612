import { execFileSync } from 'child_process';
import { build } from 'esbuild';
import {
  cpSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'fs';
import { createRequire } from 'module';
import { basename, join } from 'path';
import { ROOT } from '../helpers';
import { SANDBOX } from './server';

const EXAMPLE = join(ROOT, 'examples', 'apps-engine');
const MODULES = join(SANDBOX, 'node_modules');

/** A copy of the example, in a folder as a developer has it after `npm install`. */
function copyExample(folder: string): void {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  for (const name of readdirSync(EXAMPLE)) {
    if (['node_modules', 'dist', 'rocketchat-e2ee.ts'].includes(name)) continue;
    cpSync(join(EXAMPLE, name), join(folder, name), { recursive: true });
  }
  const modules = join(folder, 'node_modules');
  mkdirSync(join(modules, '@rocket.chat'), { recursive: true });
  for (const name of ['ui-kit', 'icons', 'apps-engine']) {
    symlinkSync(join(MODULES, '@rocket.chat', name), join(modules, '@rocket.chat', name));
  }
  symlinkSync(join(MODULES, 'typescript'), join(modules, 'typescript'));
  mkdirSync(join(modules, '@types'));
  symlinkSync(join(MODULES, '@types', 'node'), join(modules, '@types', 'node'));
  symlinkSync(ROOT, join(modules, 'rocketchat-e2ee'));
}

/** Vendors the library and packages the app as its README says: with apps-cli 1.9.0, untouched. */
export function packageVendored(folder: string): Buffer {
  copyExample(folder);
  execFileSync(process.execPath, [join(ROOT, 'dist', 'cli', 'main.js'), 'vendor', folder]);
  return runCli(folder);
}

/** Runs `rc-apps package`. */
export function runCli(folder: string): Buffer {
  const cli = join(MODULES, '@rocket.chat', 'apps-cli', 'bin', 'run');
  const output = execFileSync(process.execPath, [cli, 'package'], {
    cwd: folder,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const zip = readdirSync(join(folder, 'dist')).find((name) => name.endsWith('.zip'));
  if (zip === undefined) throw new Error(`apps-cli packaged nothing: ${output}`);
  return readFileSync(join(folder, 'dist', zip));
}

/**
 * Builds the app as compilers after 0.1.7 do, which are not on npm: with esbuild, in which what the
 * app imports of its dependencies comes from the developer's folder, with Node's own resolution.
 */
export async function packageBundled(
  folder: string,
  library = 'rocketchat-e2ee/apps-engine',
): Promise<Buffer> {
  copyExample(folder);
  for (const name of readdirSync(folder).filter((name) => name.endsWith('.ts'))) {
    const source = readFileSync(join(folder, name), 'utf8');
    writeFileSync(join(folder, name), source.replaceAll("'./rocketchat-e2ee'", `'${library}'`));
  }
  const info = JSON.parse(readFileSync(join(folder, 'app.json'), 'utf8'));
  const main = info.classFile as string;
  const resolve = createRequire(join(folder, main)).resolve;
  const { outputFiles } = await build({
    entryPoints: [join(folder, main)],
    bundle: true,
    minify: true,
    platform: 'node',
    target: 'node10',
    format: 'cjs',
    write: false,
    logLevel: 'silent',
    external: ['@rocket.chat/apps-engine/*'],
    plugins: [
      {
        name: 'node-resolution',
        setup: ({ onResolve }) =>
          onResolve({ filter: /^rocketchat-e2ee/ }, ({ path }) => ({ path: resolve(path) })),
      },
    ],
  });
  const AdmZip = createRequire(join(MODULES, '@rocket.chat', 'apps-engine', 'package.json'))(
    'adm-zip',
  ) as new () => { addFile(name: string, data: Buffer): void; toBuffer(): Buffer };
  const zip = new AdmZip();
  zip.addFile('app.json', Buffer.from(JSON.stringify(info)));
  zip.addFile(main.replace(/\.ts$/, '.js'), Buffer.from(outputFiles[0]?.contents ?? []));
  zip.addFile(info.iconFile, readFileSync(join(folder, basename(info.iconFile))));
  for (const name of readdirSync(join(folder, 'i18n'))) {
    zip.addFile(`i18n/${name}`, readFileSync(join(folder, 'i18n', name)));
  }
  return zip.toBuffer();
}
