//! Control of A6-4 and A6-5: greets and panics, which ends in a WebAssembly trap. It must fail, and be restarted.

fn main() {
    hello::greet();
    panic!("this guest is meant to trap");
}
