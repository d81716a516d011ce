//! Control of A2-1: must not compile. A build that accepts it would accept anything.

fn main() {
    // Intended: a text is not a number.
    let celsius: u32 = "warm";
    println!("{celsius}°C");
}
