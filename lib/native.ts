import type * as Native from '../binding';
import { E2eeError } from './errors';

/** The addon, from this checkout or from the platform's package. */
export const native: typeof Native = load();

function load(): typeof Native {
  try {
    return require('../binding.js') as typeof Native;
  } catch (cause) {
    throw new E2eeError(
      'ERR_E2EE_UNSUPPORTED_PLATFORM',
      `rocketchat-e2ee has no native binary here (${process.platform}-${process.arch}). ` +
        'Install again without --no-optional or --omit=optional, and without a package-lock.json ' +
        'from another platform (npm/cli#4828); in a checkout, run `npm run build`.',
      { cause },
    );
  }
}
