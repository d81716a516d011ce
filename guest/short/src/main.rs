//! Control of A6-3: `hello` at twice the pace, done in five seconds. It breaks the spacing that A6-2 requires as well.

use std::thread::sleep;

fn main() {
    hello::greet();
    for reading in 1..=hello::READINGS {
        hello::read(reading);
        sleep(hello::PAUSE / 2);
    }
    hello::complete();
}
