/** Made by `scripts/build-apps-engine.mjs`: the WebAssembly of `crates/wasm` and its glue. */
declare module 'rocketchat-e2ee:wasm' {
  import type { Binding } from './native';

  /** The functions and classes of the module, and how it gets its instance. */
  type Glue = Binding & { __wbg_set_wasm(exports: WebAssembly.Exports): void };

  /** Evaluates wasm-bindgen's glue anew, with this `crypto` in its scope. */
  export function makeGlue(crypto: Crypto): Glue;
  /** The module: deflated, in base64. */
  export const bytes: string;
}
