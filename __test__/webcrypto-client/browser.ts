import { accessSync, constants } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { delimiter, join } from 'node:path';
import { chromium } from 'playwright-core';
import { wire } from './client.js';

type Client = typeof import('./client.js');
/** The functions of the model that `invoke` can run: their arguments and results travel as text. */
type Method = Exclude<keyof Client, 'ejson' | 'wire' | 'invoke'>;
type Result<M extends Method> = Awaited<ReturnType<Client[M]>>;

/** A page of a real browser with the client model in it. */
export interface BrowserClient {
  /** Name and version of the browser. */
  readonly version: string;
  /** Runs one function of the model in the page. Bytes and dates cross as they are. */
  call<M extends Method>(method: M, ...args: Parameters<Client[M]>): Promise<Result<M>>;
  /** Runs one function for many lists of arguments in a single round trip. */
  callMany<M extends Method>(
    method: M,
    calls: readonly Parameters<Client[M]>[],
  ): Promise<Result<M>[]>;
  close(): Promise<void>;
}

const FLAGS = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function findChromium(): string {
  const { CHROMIUM_PATH, PATH = '' } = process.env;
  if (CHROMIUM_PATH) {
    if (isExecutable(CHROMIUM_PATH)) return CHROMIUM_PATH;
    throw new Error(`CHROMIUM_PATH is ${CHROMIUM_PATH}, which is not an executable file`);
  }
  const folders = PATH.split(delimiter).filter(Boolean);
  const names = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'];
  const candidates = names.flatMap((name) => folders.map((folder) => join(folder, name)));
  const found = ['/usr/bin/chromium', ...candidates].find(isExecutable);
  if (found) return found;
  throw new Error(
    'No Chromium found. Install it (Debian, Ubuntu: apt-get install -y chromium; macOS: brew ' +
      'install --cask chromium), or set CHROMIUM_PATH to a Chromium or Chrome executable.',
  );
}

/** Serves one blank page: on 127.0.0.1 it is a secure context, so that `crypto.subtle` exists. */
async function serveBlankPage() {
  const server = createServer((_request, response) => {
    response.setHeader('content-type', 'text/html; charset=utf-8');
    response.end('<!doctype html><title>Rocket.Chat client</title>');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    close: () => new Promise((resolve) => server.close(resolve)),
  };
}

/** Starts headless Chromium, with a profile of its own that goes when it is closed. */
export async function openBrowser(): Promise<BrowserClient> {
  const executablePath = findChromium();
  const server = await serveBlankPage();
  const browser = await chromium.launch({ executablePath, args: FLAGS }).catch(async (error) => {
    await server.close();
    throw error;
  });
  const close = async () => {
    await browser.close();
    await server.close();
  };
  try {
    const page = await browser.newPage();
    await page.goto(server.url);
    await page.addScriptTag({ path: join(__dirname, 'client.js') });
    const client = await page.evaluateHandle<Client>('RocketChatClient');

    const invoke = async (method: Method, calls: readonly unknown[][]) => {
      /* istanbul ignore next: this one runs in the page */
      const inPage = (model: Client, request: string) => model.invoke(request);
      return wire.parse(await client.evaluate(inPage, wire.stringify({ method, calls })));
    };
    return {
      version: `Chromium ${browser.version()}`,
      call: async (method, ...args) => (await invoke(method, [args]))[0],
      callMany: invoke,
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}
