//! Control of A2-1: must not compile. A build that accepts it would accept anything.

fn main() {
    // Meant: a text is no number.
    let celsius: u32 = "warm";
    println!("{celsius}°C");
}
