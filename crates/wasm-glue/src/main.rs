//! `wasm-glue <module> <folder>`: writes the module, and the JavaScript that calls it, as
//! `binding_bg.wasm` and `binding_bg.js`.

use std::env;
use std::error::Error;

use wasm_bindgen_cli_support::Bindgen;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args_os().skip(1);
    let (Some(module), Some(folder), None) = (arguments.next(), arguments.next(), arguments.next())
    else {
        return Err("usage: wasm-glue <module> <folder>".into());
    };
    Bindgen::new()
        .input_path(module)
        .bundler(true)?
        .typescript(true)
        .remove_name_section(true)
        .remove_producers_section(true)
        .out_name("binding")
        .generate(folder)?;
    Ok(())
}
