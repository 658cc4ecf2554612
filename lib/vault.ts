import type { Vault as NativeVault } from '../binding';

/** Makes a {@link Vault} of the binding's; not exported from the package. */
export let vaultOf: (core: NativeVault) => Vault;
/** The binding's vault of a {@link Vault}; not exported from the package. */
export let coreOf: (vault: Vault) => NativeVault;

/** The data key of a store. It has nothing to call: what holds it seals and opens records. */
export class Vault {
  static {
    vaultOf = (core) => new Vault(core);
    coreOf = (vault) => vault.#core;
  }

  readonly #core: NativeVault;

  private constructor(core: NativeVault) {
    this.#core = core;
  }
}
