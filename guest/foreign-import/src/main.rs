//! Control of A2-3: imports a function that WASI does not define, so it is not a plain WASI command and runs nowhere.

#[link(wasm_import_module = "annex_host")]
unsafe extern "C" {
    safe fn temperature() -> u32;
}

fn main() {
    println!("the host says {}°C", temperature());
}
