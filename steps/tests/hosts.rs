//! Remote machines: real ones, each with something about it that a run must detect, report and survive. Afterwards,
//! each machine is as it was before.

#[path = "hosts/fish.rs"]
mod fish;
#[path = "hosts/guest.rs"]
mod guest;
#[path = "hosts/inside.rs"]
mod inside;

use guest::{Guest, Verdicts};
use inside::Compiler;

/// One claim that is judged quickly.
const QUICK: [&str; 2] = ["--tags", "@A10-1"];

/// Runs the suite there, and asserts its exit status and what it prints.
async fn told(guest: &Guest, arguments: &[&str], code: i32, words: &[&str]) -> String {
    let said = guest.run(arguments, code).await;
    for words in words {
        assert!(said.contains(words), "it does not say {words:?}: {said}");
    }
    said
}

/// Asserts that a quick run on such a machine holds, and leaves nothing.
async fn holds(guest: Guest) {
    told(&guest, &QUICK, 0, &["1 hold, 0 fail"]).await;
    guest.unchanged(&[]).await;
}

/// Asserts that a run of the suite on such a machine is rejected at once with these words, and leaves nothing.
async fn refused(name: &str, change: &str, words: &[&str]) {
    let guest = Guest::on(name, change).await;
    let said = told(&guest, &QUICK, 3, words).await;
    assert!(!said.contains("evidence in"), "it was not refused before it began: {said}");
    guest.unchanged(&[]).await;
}

/// Runs the SSH server in a separate namespace, where it sees another `/sys/fs/cgroup` or another first process.
fn server_in(namespaces: &str, change: &str) -> String {
    format!(
        "systemctl stop ssh.socket ssh.service; mkdir -p /run/sshd
        setsid unshare --mount {namespaces} sh -c 'set -e; {change}
        exec /usr/sbin/sshd -D' >/dev/null 2>&1 </dev/null &
        until ss -tln | grep -q ':22 '; do sleep 0.2; done"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_like_the_device_is_used_and_left_as_it_was() {
    let guest = Guest::on("plain", "").await;
    let words = ["2 hold, 0 fail, 1 known deviations, 0 inconclusive"];
    told(&guest, &["--tags", "@A6-1 or @A6-4 or @A10-1"], 0, &words).await;
    guest.unchanged(&[]).await;
}

/// Asserts that two runs agree on each claim that both judged, and that there are more than `more_than` such claims.
fn same_verdicts(there: &Verdicts, here: &Verdicts, more_than: usize) {
    let both = there.iter().filter_map(|(claim, there)| Some((claim, there, here.get(claim)?)));
    let (same, other): (Vec<_>, Vec<_>) = both.partition(|(_, there, here)| there == here);
    assert!(other.is_empty(), "claim, there, here: {other:#?}");
    assert!(same.len() > more_than, "{same:#?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes twenty minutes: ci/hosts --ignored"]
async fn every_claim_that_is_judged_there_comes_to_the_same_verdict() {
    let guest = Guest::on("whole", "").await;
    let there = guest.verdicts_there().await;
    // Printed now, so that these verdicts are seen even if the other run fails.
    println!("{there:#?}");
    same_verdicts(&there, &guest.verdicts_here().await, 25);
    guest.unchanged(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes 25 minutes: ci/hosts --ignored"]
async fn every_claim_that_the_podman_inside_judges_comes_to_the_same_verdict() {
    let mut guest = Guest::on_a_larger_one("whole-inside").await;
    // This host first: its run puts the images of conventional containers into the cache, from which they are copied.
    let here = guest.verdicts_here().await;
    guest.take_in_the_suite(Compiler::Real).await;
    println!("{}", guest.run_inside("-c 2").await);
    same_verdicts(&guest.verdicts_inside().await, &here, 20);
    guest.unchanged(&BOOKS).await;
}

/// Lets the user's units end with the last login, so that none of them exists before the run.
const FLEETING: &str = "loginctl disable-linger guest; while [ -e /run/user/$(id -u guest) ]; do sleep 0.2; done";

/// Where the suite is on the machine, and where its user's own Podman, which ran the registry, keeps records of that.
const BOOKS: [&str; 5] = [
    "/opt/assay",
    "/home/guest/.local/share/containers",
    "/run/user/1001/containers",
    "/run/user/1001/crun",
    "/run/user/1001/netns",
];

/// Claims about the service that any machine can judge.
const SERVICE: &str = "@A6-1 or @A6-2 or @A6-3 or @A6-4 or @A10-1";

#[tokio::test(flavor = "multi_thread")]
async fn by_the_podman_of_the_machine_itself_claims_come_to_the_same() {
    let mut guest = Guest::on("inside", "").await;
    guest.take_in_the_suite(Compiler::Fake).await;
    let said = guest.run_inside(&format!("--tags '{SERVICE}'")).await;
    assert!(said.contains("4 hold, 0 fail, 1 known deviations, 0 inconclusive"), "{said}");
    guest.unchanged(&BOOKS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_there_is_no_systemd_the_workload_is_run_by_podman_run() {
    let mut guest = Guest::on("alone", "").await;
    guest.take_in_the_suite(Compiler::Fake).await;
    let said = guest.run_inside_without_systemd("-v --tags '@A6-1 or @A6-2 or @A6-3 or @A6-4'").await;
    assert!(said.contains("2 hold, 0 fail, 1 known deviations, 0 inconclusive"), "{said}");
    assert!(said.contains(" by podman run") && said.contains("needs a systemd that makes units of Quadlets"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_user_is_not_let_in() {
    let guest = Guest::on("user", "").await;
    let said = guest.run_as("ghost", &QUICK, 3).await;
    assert!(said.contains("ghost"), "{said}");
    guest.unchanged(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_key_is_not_let_in() {
    let guest = Guest::on("key", "").await;
    guest.take_another_key();
    told(&guest, &QUICK, 3, &["it refuses ", "`ssh-copy-id -i "]).await;
    guest.unchanged(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_nobody_listens_on_is_told() {
    // QEMU accepts the connection before it knows that.
    let words = "no SSH connection to 127.0.0.1:";
    refused("down", "systemctl stop ssh.socket ssh.service", &[words, "it hung up before its key was seen"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_takes_connections_and_says_nothing_is_given_up() {
    let words = "it takes connections, but says nothing that an SSH server would";
    refused("silent", "kill -STOP $(systemctl show --property=MainPID --value ssh.service)", &[words]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_key_that_nobody_knows_is_shown_and_taken_by_its_fingerprint() {
    let guest = Guest::on("stranger", "").await;
    guest.forget_the_host();
    let said = guest.run(&QUICK, 3).await;
    let fingerprint = said.split_whitespace().find(|word| word.starts_with("SHA256:")).unwrap();
    let fingerprint = fingerprint.trim_end_matches(|c: char| !c.is_ascii_alphanumeric() && c != '+' && c != '/');
    told(&guest, &["--plan", "--host-key", fingerprint], 0, &["would run"]).await;
    guest.unchanged(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_sudo_what_needs_root_is_not_run_and_the_rest_is() {
    let guest = Guest::on("meek", "rm /etc/sudoers.d/guest").await;
    let plan = guest.run(&["--plan"], 0).await;
    let skipped = |claim: &str| {
        let line = plan.lines().find(|line| line.contains(claim)).unwrap();
        line.starts_with(" not run") && line.contains("let its user run sudo without a password")
    };
    assert!(skipped(" A7-1 ") && skipped(" A8-1 ") && !skipped(" A10-1"), "{plan}");
    holds(guest).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_systemd_there_are_no_units() {
    let change = server_in("--pid --fork --mount-proc", "mount -t tmpfs tmpfs /run/systemd");
    refused("bare", &change, &["systemd: it was started by sshd, not by systemd; take a machine that systemd runs"])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cgroups_of_the_first_version_are_told() {
    let legacy = "mount -t tmpfs tmpfs /sys/fs/cgroup; mkdir /sys/fs/cgroup/systemd
        mount -t cgroup -o none,name=old old /sys/fs/cgroup/systemd";
    refused("legacy", &server_in("", legacy), &["cgroup v2: cgroups are v1; boot it without"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cgroups_of_both_versions_are_told() {
    let hybrid = "mount -t tmpfs tmpfs /sys/fs/cgroup; mkdir /sys/fs/cgroup/systemd /sys/fs/cgroup/unified
        mount -t cgroup -o none,name=old old /sys/fs/cgroup/systemd; mount -t cgroup2 new /sys/fs/cgroup/unified";
    refused("hybrid", &server_in("", hybrid), &["cgroup v2: cgroups are hybrid, v1 with v2 beside it; boot it"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_home_that_cannot_be_written_to_is_told() {
    let change = "mount --bind /home/guest /home/guest; mount -o remount,bind,ro /home/guest";
    refused("sealed", change, &["home: it cannot be written to: ", "Read-only file system; see to it"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_told() {
    let change = "fallocate -l $(($(df --output=avail -B1 / | tail -n 1) - 30000000)) /filler";
    refused("full", change, &["room in the home: ", "MB are free; free some: a run takes up to "]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn units_that_would_end_with_the_login_are_told() {
    let guest = Guest::on("fleeting", FLEETING).await;
    let words = ["lingering: units of guest end with the last login; sudo loginctl enable-linger guest"];
    told(&guest, &QUICK, 3, &words).await;
    guest.log_out().await;
    guest.unchanged(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_lacking_is_brought_for_the_time_of_the_run() {
    let change = "dpkg --purge --force-depends libwasmedge0 >/dev/null 2>&1";
    let guest = Guest::on("empty", &format!("{change}\n{FLEETING}")).await;
    let words = ["bringing linger, libwasmedge0, for the time of the run", "1 hold, 0 fail"];
    told(&guest, &["--provision", QUICK[0], QUICK[1]], 0, &words).await;
    guest.log_out().await;
    // The package manager's own records, and the linker's cache of the libraries that come and go.
    guest.unchanged(&["/var/lib/apt", "/var/lib/dpkg", "/var/cache", "/etc/ld.so.cache"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_far_off_is_told() {
    let words = ["clock: it is ", " behind this host's; set it: sudo timedatectl set-ntp true"];
    refused("slow", "date --set '-3 hours' >/dev/null", &words).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unit_of_that_name_is_left_alone() {
    let change = "folder=/home/guest/.config/containers/systemd; mkdir -p $folder
        printf '[Container]\\nImage=localhost/mine\\n' >$folder/wasm-hello.container
        chown -R guest:guest /home/guest/.config";
    let path = "names of units: there already: /home/guest/.config/containers/systemd/wasm-hello.container";
    refused("taken", change, &[path, "nothing of yours is overwritten"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_told_with_the_package_that_brings_it() {
    let change = "rm /usr/lib/*/libwasmedge.so.0* && ldconfig; mv /usr/bin/newuidmap /usr/bin/elsewhere";
    let words = [
        "WasmEdge library: no libwasmedge.so.0; sudo apt-get install libwasmedge0",
        "podman without root: ",
        "sudo apt-get install uidmap",
        "cargo run -- doctor --target ssh://guest@127.0.0.1:",
    ];
    refused("poor", change, &words).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_shell_that_prints_something_first_changes_nothing() {
    let change = "sed -i '1i echo Welcome to the machine; echo mind the gap >&2' /home/guest/.bashrc";
    holds(Guest::on("chatty", change).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_shell_that_is_no_relative_of_sh_changes_nothing() {
    let mut guest = Guest::on("fish", "").await;
    guest.take_in_fish().await;
    holds(guest).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_lost_in_a_run_leaves_the_verdict_open_and_nothing_behind() {
    let guest = Guest::on("lost", "").await;
    let run = guest.run(&["--tags", "@A6-6"], 3);
    let cut = "systemd-run --quiet --unit=cut sh -c 'until pgrep -u guest -f \"sh -s -- no-quota \"; do sleep 0.2; done
        sleep 2; pkill -KILL -u guest sshd-session'";
    let (said, ()) = tokio::join!(run, guest.once(cut));
    assert!(said.contains("connection lost during"), "{said}");
    assert!(said.contains("0 hold, 0 fail, 0 known deviations, 1 inconclusive"), "{said}");
    guest.unchanged(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_run_has_left_is_seen_by_the_next_and_removed_by_gc() {
    let guest = Guest::on("orphan", "").await;
    guest.kill_a_run(&QUICK, "nano: clean-up").await;
    let words = ["earlier runs: another run is under way there, or has left /home/guest/.assay-"];
    told(&guest, &QUICK, 3, &words).await;
    let said = guest.tidy_up().await;
    assert!(said.contains("removed what run ") && said.contains(" has put on ssh://guest@127.0.0.1:"), "{said}");
    guest.unchanged(&[]).await;
}
