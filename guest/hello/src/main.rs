//! The workload of the annex: a greeting, five readings two seconds apart, a completion line, exit code 0.

use std::thread::sleep;

fn main() {
    hello::greet();
    for reading in 1..=hello::READINGS {
        hello::read(reading);
        sleep(hello::PAUSE);
    }
    hello::complete();
}
