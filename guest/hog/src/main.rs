//! Control of A6-6, A7-1 and A7-5: takes more memory than allowed, or than a small device has; prints if it survives.

use std::hint::black_box;
use std::thread::sleep;
use std::time::Duration;

const STEP_MIB: usize = 4;
const TOTAL_MIB: usize = 160;
const HOLD: Duration = Duration::from_secs(5);

fn main() {
    let mut held = Vec::new();
    for touched in (STEP_MIB..=TOTAL_MIB).step_by(STEP_MIB) {
        // Not zero: every page is written to, so that it must exist.
        held.push(vec![1_u8; STEP_MIB << 20]);
        println!("touched {touched} MiB");
    }
    sleep(HOLD);
    black_box(&held);
    println!("survived");
}
