//! Control of A6-4: greets and exits with status 7. Whoever reports 0 for it proves nothing by reporting 0 for `hello`.

use std::process::exit;

fn main() {
    hello::greet();
    exit(7);
}
