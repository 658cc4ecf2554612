//! Tells the linker how to build a Node addon.

fn main() {
    napi_build::setup();
}
