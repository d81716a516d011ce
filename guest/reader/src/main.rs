//! Control of A8-6: reads the file of 64 MiB that its image holds beside it.

use std::fs::File;
use std::io::{Read, Result};

fn main() -> Result<()> {
    let (mut file, mut piece, mut total) = (File::open("/data")?, vec![0_u8; 1 << 20], 0);
    loop {
        match file.read(&mut piece)? {
            0 => break,
            read => total += read,
        }
    }
    println!("read {} MiB", total >> 20);
    Ok(())
}
