//! The subject of A2-4: does time pass under WASI, and can a thread be spawned? It reports, and judges nothing.

use std::thread::{Builder, sleep};
use std::time::{Duration, Instant, SystemTime};

const NAP: Duration = Duration::from_millis(50);

fn main() {
    let (monotonic, wall) = (Instant::now(), SystemTime::now());
    sleep(NAP);
    println!("clock: moved by {} ms (Instant)", monotonic.elapsed().as_millis());
    match wall.elapsed() {
        Ok(moved) => println!("clock: moved by {} ms (SystemTime)", moved.as_millis()),
        Err(back) => println!("clock: moved by -{} ms (SystemTime)", back.duration().as_millis()),
    }
    match Builder::new().spawn(|| ()) {
        Ok(thread) => {
            let ended = if thread.join().is_ok() { "spawned" } else { "spawned, then lost" };
            println!("threads: {ended}");
        }
        Err(refusal) => println!("threads: refused: {refusal}"),
    }
}
