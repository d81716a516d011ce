//! Machines that somebody else runs: real ones, each with something about it that a run must see, say and survive. What
//! is on such a machine afterwards is what was there before.

#[path = "hosts/guest.rs"]
mod guest;

use guest::Guest;

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_like_the_device_is_taken() {
    let guest = Guest::on("plain", "").await;
    let said = guest.run(&["--plan"], 0).await;
    assert!(said.contains("would run"), "{said}");
}
