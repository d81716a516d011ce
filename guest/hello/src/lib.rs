//! Prints what the annex's workload prints, in parts, so that a control can differ from it in exactly one way.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How many readings the workload takes.
pub const READINGS: u32 = 5;

/// The time between two readings, and between the last one and completion.
pub const PAUSE: Duration = Duration::from_secs(2);

/// Prints the first line.
pub fn greet() {
    println!("hello from WebAssembly ({} {})", env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
}

/// Prints one reading, with the time at which it was taken.
pub fn read(reading: u32) {
    println!("reading {reading}/{READINGS}: temperature={}°C timestamp={}", celsius(reading), unix_seconds());
}

/// Prints the last line.
pub fn complete() {
    println!("completed: {READINGS} readings");
}

/// Simulates a sensor that warms up by three degrees with each reading: 23, 26, 29, 32, 35 °C.
fn celsius(reading: u32) -> u32 {
    20 + 3 * reading
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
