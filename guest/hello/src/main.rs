//! The workload of the annex: a greeting, five readings two seconds apart, a completion line, exit code 0.

use std::thread::sleep;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const READINGS: u32 = 5;
const PAUSE: Duration = Duration::from_secs(2);

/// A sensor that warms up by three degrees with each reading: 23, 26, 29, 32, 35 °C.
fn celsius(reading: u32) -> u32 {
    20 + 3 * reading
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn main() {
    println!("hello from WebAssembly ({} {})", env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
    for reading in 1..=READINGS {
        println!("reading {reading}/{READINGS}: temperature={}°C timestamp={}", celsius(reading), unix_seconds());
        sleep(PAUSE);
    }
    println!("completed: {READINGS} readings");
}
