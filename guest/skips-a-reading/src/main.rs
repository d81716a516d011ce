//! Control of A6-2: `hello` without its third reading. It still takes ten seconds, so that A6-3 holds for it.

use std::thread::sleep;

const MISSING: u32 = 3;

fn main() {
    hello::greet();
    for reading in 1..=hello::READINGS {
        if reading != MISSING {
            hello::read(reading);
        }
        sleep(hello::PAUSE);
    }
    hello::complete();
}
