import type * as Addon from '../binding';
import { E2eeError } from './errors';

/**
 * What both builds of the core have. The bundle for the Apps-Engine puts `wasm.ts` in this
 * module's place; there, what returns a promise may return its value at once.
 */
export type Binding = Omit<typeof Addon, 'SqliteFile' | '__napiBindingTarget'>;

function load(): typeof Addon {
  try {
    // Out of bundlers' sight, which load no addons: inside an app, the error tells what to do.
    return require(['..', 'binding.js'].join('/')) as typeof Addon;
  } catch (cause) {
    const code = 'ERR_E2EE_UNSUPPORTED_PLATFORM';
    // Without the cause: of an error that has one, the Apps-Engine's runtime tells nothing.
    if (inApp()) throw new E2eeError(code, IN_APP);
    throw new E2eeError(code, whatToDo(), { cause });
  }
}

/** The Apps-Engine's sandbox hides this from apps. */
function inApp(): boolean {
  return typeof globalThis === 'undefined';
}

const IN_APP =
  'No native binary can be loaded inside the Apps-Engine: in an app, ' +
  "import from 'rocketchat-e2ee/apps-engine' instead of 'rocketchat-e2ee'.";

function whatToDo(): string {
  return (
    `rocketchat-e2ee has no native binary here (${process.platform}-${process.arch}). ` +
    'Install again without --no-optional or --omit=optional, and without a package-lock.json ' +
    'from another platform (npm/cli#4828); in a checkout, run `npm run build`; ' +
    'in a bundle, leave rocketchat-e2ee out of it.'
  );
}

/** The addon, from this checkout or from the platform's package. */
export const addon: typeof Addon = load();

export const native: Binding = addon;
