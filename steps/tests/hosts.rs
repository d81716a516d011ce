//! Remote machines: real ones, each with something about it that a run must detect, report and survive. Afterwards,
//! each machine is as it was before.

#[path = "hosts/guest.rs"]
mod guest;
#[path = "hosts/inside.rs"]
mod inside;
#[path = "hosts/native.rs"]
mod native;

use guest::{RemoteMachine, VerdictWords};
use inside::Compiler;

/// One claim that is judged quickly.
const QUICK: [&str; 2] = ["--tags", "@A10-1"];

/// Runs the suite there, and asserts its exit status and what it prints.
async fn prints(guest: &RemoteMachine, arguments: &[&str], code: i32, words: &[&str]) -> String {
    let printed = guest.run(arguments, code).await;
    assert_says(&printed, words);
    printed
}

fn assert_says(printed: &str, words: &[&str]) {
    for words in words {
        assert!(printed.contains(words), "it does not say {words:?}: {printed}");
    }
}

/// Returns the script that runs the SSH server in a separate namespace, where it sees another `/sys/fs/cgroup` or another
/// first process. Open connections outlive the server that accepted them.
fn server_in(namespaces: &str, change: &str) -> String {
    format!(
        "systemctl stop ssh.socket ssh.service; mkdir -p /run/sshd
        setsid unshare --mount {namespaces} sh -c 'set -e; {change}
        exec /usr/sbin/sshd -D' >/dev/null 2>&1 </dev/null &
        until ss -tln | grep -q ':22 '; do sleep 0.2; done"
    )
}

/// Ends that server, and with it its namespace, and starts the machine's own again.
const OWN_SERVER: &str = "pkill -KILL -x sshd
    while ss -tln | grep -q ':22 '; do sleep 0.2; done
    systemctl start ssh.service";

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_like_the_device_is_used_and_left_as_it_was() {
    let guest = RemoteMachine::on("plain").await;
    let words = ["2 hold, 0 fail, 1 known deviations, 0 inconclusive"];
    prints(&guest, &["--tags", "@A6-1 or @A6-4 or @A10-1"], 0, &words).await;
    guest.unchanged(&[]).await;
}

/// Asserts that two runs agree on each claim that both judged, and that there are more than `more_than` such claims.
fn same_verdicts(there: &VerdictWords, here: &VerdictWords, more_than: usize) {
    let both = there.iter().filter_map(|(claim, there)| Some((claim, there, here.get(claim)?)));
    let (same, other): (Vec<_>, Vec<_>) = both.partition(|(_, there, here)| there == here);
    assert!(other.is_empty(), "claim, there, here: {other:#?}");
    assert!(same.len() > more_than, "{same:#?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes twenty minutes: ci/hosts --ignored"]
async fn every_claim_that_is_judged_there_comes_to_the_same_verdict() {
    let guest = RemoteMachine::on_vm("whole").await;
    let there = guest.verdicts_on(&guest.target()).await;
    // Printed now, so that these verdicts are seen even if the other run fails.
    println!("{there:#?}");
    same_verdicts(&there, &guest.verdicts_on("vm").await, 25);
    guest.unchanged(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes 25 minutes: ci/hosts --ignored"]
async fn every_claim_that_the_podman_inside_judges_comes_to_the_same_verdict() {
    let mut guest = RemoteMachine::fresh_and_larger_vm("whole-inside").await;
    // This host first: its run puts the images of conventional containers into the cache, from which they are copied.
    let here = guest.verdicts_on("vm").await;
    guest.take_in_the_suite(Compiler::Real).await;
    println!("{}", guest.run_inside("podman", "-c 2").await);
    same_verdicts(&guest.verdicts_inside().await, &here, 20);
    guest.unchanged(&BOOKS).await;
}

/// The host is a VM, because this one may not have control groups of version 2 that limit anything.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes half an hour: ci/hosts --ignored"]
async fn every_claim_that_system_containers_of_an_ordinary_host_judge_comes_to_the_same_verdict() {
    let mut host = RemoteMachine::host_of_containers("whole-host").await;
    let here = host.verdicts_on("vm").await;
    host.take_in_the_suite_and_a_disk(Compiler::Fake).await;
    println!("{}", host.run_inside("nspawn", "").await);
    let there = host.verdicts_inside().await;
    for limited in ["A6-6", "A6-7", "A7-2", "A7-3"] {
        assert!(there.contains_key(limited), "{limited} is not judged: {there:#?}");
    }
    same_verdicts(&there, &here, 20);
    host.unchanged(&BOOKS).await;
}

/// Root makes an image, and makes it again without cloud-init.
#[test]
#[ignore = "takes a quarter of an hour, and root: ci/hosts --ignored"]
fn a_cloud_image_is_booted_prepared_and_judged_and_one_without_cloud_init_is_explained() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let run = |program: &str, arguments: &[&str]| {
        let mut command = std::process::Command::new(program);
        let output = command.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
        let printed = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&printed).into_owned())
    };
    let judge = |script: &str, name: &str| {
        let (disk, evidence) = (folder.path().join(format!("{name}.qcow2")), folder.path().join(name));
        let [disk, evidence] = [&disk, &evidence].map(|path| path.to_str().unwrap().to_owned());
        let (made, printed) = run("sudo", &["ci/cloud-image", &disk, "trixie", "3G", script]);
        assert_eq!(made, Some(0), "{printed}");
        let options = ["run", "--disk", &disk, "--evidence", &evidence, "--tags", "@A5-4 or @A5-5"];
        let (status, printed) = run(env!("CARGO_BIN_EXE_assay"), &options);
        (status, printed, std::fs::read_to_string(format!("{evidence}/verdicts.json")).unwrap_or_default())
    };
    let (status, printed, verdicts) = judge("true", "whole");
    assert_eq!(status, Some(0), "{printed}");
    assert!(verdicts.contains("\"platform\": \"whole.qcow2@sha256:"), "{verdicts}");
    let (status, printed, _) = judge("touch etc/cloud/cloud-init.disabled; ssh-keygen -A -f .", "without");
    assert_eq!(status, Some(3), "{printed}");
    assert!(printed.contains("nothing read the seed"), "{printed}");
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
async fn a_machine_is_judged_by_its_own_podman() {
    let mut guest = RemoteMachine::fresh("inside").await;
    guest.take_in_the_suite(Compiler::Fake).await;
    let printed = guest.run_inside("podman", &format!("--tags '{SERVICE}'")).await;
    assert_says(&printed, &["4 hold, 0 fail, 1 known deviations, 0 inconclusive"]);
    guest.unchanged(&BOOKS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_has_no_systemd_and_podman_runs_the_workload() {
    let mut guest = RemoteMachine::fresh("alone").await;
    guest.take_in_the_suite(Compiler::Fake).await;
    let printed = guest.run_inside_without_systemd("-v --tags '@A6-1 or @A6-2 or @A6-3 or @A6-4'").await;
    let words = [" by podman run", "needs a systemd that makes units of Quadlets"];
    assert_says(&printed, &["2 hold, 0 fail, 1 known deviations, 0 inconclusive", words[0], words[1]]);
}

/// Other logins that fail are tests of `entrances`: no run begins after any of them.
#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_host_key_is_shown_before_a_run_begins_and_accepted_by_its_fingerprint() {
    let guest = RemoteMachine::on("login").await;
    std::fs::remove_file(guest.home().join(".ssh/known_hosts")).unwrap();
    let printed = guest.run(&QUICK, 3).await;
    assert!(!printed.contains("evidence in"), "it was not refused before it began: {printed}");
    let fingerprint = printed.split_whitespace().find(|word| word.starts_with("SHA256:")).unwrap();
    let fingerprint = fingerprint.trim_end_matches(|c: char| !c.is_ascii_alphanumeric() && c != '+' && c != '/');
    prints(&guest, &["--plan", "--host-key", fingerprint], 0, &["would run"]).await;
    guest.unchanged(&[]).await;
}

/// What a machine may lack: the script that takes it away, the one that restores exactly what was there before, and what
/// a run says about it.
type Defect<'a> = (&'a str, &'a str, &'a [&'a str]);

/// Asserts that a machine is refused with each of these, and that it is as before at last.
async fn refused_with_each(guest: RemoteMachine, lacks: &[Defect<'_>]) {
    let mut failed = Vec::new();
    for &(change, undo, words) in lacks {
        guest.once(change).await;
        let (status, printed) = guest.outcome(&QUICK).await;
        guest.once(undo).await;
        if status != Some(3) || printed.contains("evidence in") || !words.iter().all(|words| printed.contains(words)) {
            failed.push(format!("{change}\nthe run ended with {status:?}, {words:?} was expected: {printed}"));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
    guest.unchanged(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_lacks_something_is_refused_before_a_run_begins() {
    let bare = server_in("--pid --fork --mount-proc", "mount -t tmpfs tmpfs /run/systemd");
    let lacks: [Defect; 5] = [
        (
            "folder=/home/guest/.config/containers/systemd; mkdir -p $folder
            printf '[Container]\nImage=localhost/mine\n' >$folder/wasm-hello.container
            chown -R guest:guest /home/guest/.config",
            "cd /home/guest/ && rm .config/containers/systemd/* && rmdir -p .config/containers/systemd",
            &[
                "names of units: there already: /home/guest/.config/containers/systemd/wasm-hello.container",
                "nothing of yours is overwritten",
            ],
        ),
        (
            "fallocate -l $(($(df --output=avail -B1 /home/guest | tail -n 1) - 30000000)) /home/guest/filler",
            "rm /home/guest/filler",
            &["free space in the home: ", "MB are free; free some: a run takes up to "],
        ),
        (
            "mount --bind /home/guest /home/guest; mount -o remount,bind,ro /home/guest",
            // Lazily, because the last login may still be ending there.
            "umount --lazy /home/guest",
            &["home: it cannot be written to: ", "Read-only file system; see to it"],
        ),
        (
            "mkdir /aside
            cp -a --parents /usr/lib/*/libwasmedge.so.0* /etc/ld.so.cache /var/cache/ldconfig /aside
            rm /usr/lib/*/libwasmedge.so.0* && ldconfig; mv /usr/bin/newuidmap /usr/bin/elsewhere",
            "mv /usr/bin/elsewhere /usr/bin/newuidmap && rm -r /var/cache/ldconfig && cp -a /aside/. / && rm -r /aside",
            &[
                "WasmEdge library: no libwasmedge.so.0; sudo apt-get install libwasmedge0",
                "podman without root: ",
                "sudo apt-get install uidmap",
                "cargo run -- doctor --target ssh://guest@",
            ],
        ),
        (&bare, OWN_SERVER, &["systemd: it was started by sshd, not by systemd; take a machine that systemd runs"]),
    ];
    refused_with_each(RemoteMachine::on("lacking").await, &lacks).await;
}

/// The clock is this host's in a system container, which cannot mount control groups of version 1 either.
#[tokio::test(flavor = "multi_thread")]
async fn a_machine_with_another_clock_or_old_control_groups_is_refused_before_a_run_begins() {
    let v1 = "mount -t tmpfs tmpfs /sys/fs/cgroup; mkdir /sys/fs/cgroup/systemd
        mount -t cgroup -o none,name=old old /sys/fs/cgroup/systemd";
    let legacy = server_in("", v1);
    let hybrid =
        server_in("", &format!("{v1}; mkdir /sys/fs/cgroup/unified; mount -t cgroup2 new /sys/fs/cgroup/unified"));
    let lacks: [Defect; 3] = [
        (
            "date --set '-3 hours'",
            "date --set '+3 hours'",
            &["clock: it is ", " behind this host's; set it: sudo timedatectl set-ntp true"],
        ),
        (&legacy, OWN_SERVER, &["cgroup v2: cgroups are v1; boot it without"]),
        (&hybrid, OWN_SERVER, &["cgroup v2: cgroups are hybrid, v1 with v2 beside it; boot it"]),
    ];
    refused_with_each(RemoteMachine::on_vm("old").await, &lacks).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lacking_package_is_brought_for_the_time_of_the_run() {
    let guest = RemoteMachine::fresh("empty").await;
    guest.let_apt_out().await;
    let change = format!("dpkg --purge --force-depends libwasmedge0 >/dev/null 2>&1\n{FLEETING}");
    let guest = guest.after(&change).await;
    let words = ["lingering: units of guest end with the last login; sudo loginctl enable-linger guest"];
    prints(&guest, &QUICK, 3, &words).await;
    guest.log_out().await;
    guest.compare(&[]).await;
    let words = ["bringing linger, libwasmedge0, for the time of the run", "1 hold, 0 fail"];
    prints(&guest, &["--provision", QUICK[0], QUICK[1]], 0, &words).await;
    guest.log_out().await;
    // The package manager's own records, and the linker's cache of the libraries that come and go.
    guest.unchanged(&["/var/lib/apt", "/var/lib/dpkg", "/var/cache", "/etc/ld.so.cache"]).await;
}

/// Other login shells are tests of `entrances`.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_works_with_a_login_shell_that_prints_and_without_sudo() {
    let guest = RemoteMachine::on("usable").await;
    let greeting = "cp -a /home/guest/.bashrc /run/
        sed -i '1i echo Welcome to the machine; echo mind the gap >&2' /home/guest/.bashrc";
    guest.once(greeting).await;
    prints(&guest, &QUICK, 0, &["1 hold, 0 fail"]).await;
    guest.once("mv /run/.bashrc /home/guest/; mv /etc/sudoers.d/guest /root/").await;
    prints(&guest, &QUICK, 0, &["1 hold, 0 fail"]).await;
    guest.once("mv /root/guest /etc/sudoers.d/").await;
    guest.unchanged(&[]).await;
}

/// On a VM, because on a system container these claims are not judged with sudo either.
#[tokio::test(flavor = "multi_thread")]
async fn a_plan_without_sudo_leaves_out_what_needs_it() {
    let guest = RemoteMachine::on_vm("rootless").await;
    let skipped = |plan: &str, claim: &str| {
        let line = plan.lines().find(|line| line.contains(claim)).unwrap();
        line.starts_with(" not run") && line.contains("or a user with root")
    };
    for (change, without) in [("", false), ("mv /etc/sudoers.d/guest /root/", true)] {
        guest.once(change).await;
        let plan = guest.run(&["--plan"], 0).await;
        assert_eq!([" A7-1 ", " A8-1 "].map(|claim| skipped(&plan, claim)), [without; 2], "{plan}");
        assert!(!skipped(&plan, " A10-1"), "{plan}");
    }
    guest.once("mv /root/guest /etc/sudoers.d/").await;
    guest.unchanged(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_lost_in_a_run_leaves_the_verdict_open_and_nothing_behind() {
    let guest = RemoteMachine::on("lost").await;
    let run = guest.run(&["--tags", "@A6-3"], 3);
    let cut =
        "systemd-run --quiet --unit=cut sh -c 'until pgrep -u guest -f \"sh -s -- wasm-hello \"; do sleep 0.2; done
        sleep 2; pkill -KILL -u guest sshd-session'";
    let (printed, ()) = tokio::join!(run, guest.once(cut));
    assert_says(&printed, &["connection lost during", "0 hold, 0 fail, 0 known deviations, 1 inconclusive"]);
    guest.unchanged(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_run_has_left_is_seen_by_the_next_and_removed_by_gc() {
    let guest = RemoteMachine::on("orphan").await;
    guest.kill_a_run(&QUICK, "nano: clean-up").await;
    let words = ["earlier runs: another run is under way there, or has left /home/guest/.assay-"];
    prints(&guest, &QUICK, 3, &words).await;
    assert_says(&guest.tidy_up().await, &["removed what run ", &format!(" has put on {}", guest.target())]);
    guest.unchanged(&[]).await;
}
