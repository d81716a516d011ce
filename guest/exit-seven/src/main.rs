//! Control of A6-4: greets and exits with status 7. A check that sees 0 here shows nothing by seeing 0 for `hello`.

use std::process::exit;

fn main() {
    hello::greet();
    exit(7);
}
