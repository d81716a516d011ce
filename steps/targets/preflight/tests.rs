//! Tests the checks of machines that lack something.

use super::*;

/// Returns the recorded preflight with one section replaced.
fn with(name: &str, text: &str) -> Preflight {
    let before = recorded();
    let old = format!("== {name}\n{}", section(&before.text, name).unwrap_or_default());
    assert!(before.text.contains(&old), "{name}");
    let text = before.text.replace(&old, &format!("== {name}\n{text}"));
    Preflight::parse(text, before.facts, 1_795_599_391.5).unwrap()
}

/// Returns the failed check of a machine whose section has this text: what was found, and the remedy.
fn in_the_way(name: &str, text: &str) -> (String, String) {
    let mut checks = with(name, text).checks(true);
    checks.retain(PreflightCheck::is_missing);
    assert_eq!(checks.len(), 1, "{checks:?}");
    let check = checks.remove(0);
    (format!("{}: {}", check.name, check.found), check.remedy.unwrap())
}

#[test]
fn on_a_machine_like_the_device_nothing_is_in_the_way() {
    let preflight = recorded();
    let lacking: Vec<PreflightCheck> =
        preflight.checks(true).into_iter().filter(|check| check.remedy.is_some()).collect();
    assert_eq!(lacking, []);
    assert_eq!((preflight.user(), preflight.home.as_str(), preflight.root), ("guest", "/home/guest", Root::Sudo));
    assert_eq!(preflight.runtime.as_deref(), Some("/run/user/1001"));
}

#[test]
fn each_missing_requirement_has_a_remedy() {
    for (name, text, found, remedy) in [
        ("uid", "0", "unprivileged user: it is root", "log in as another one"),
        ("cgroup", "tmpfs", "cgroup v2: cgroups are v1", "boot it without"),
        (
            "manager",
            "Failed to connect to bus: No medium found",
            "systemd of the user: it does not answer: Failed to connect to bus: No medium found",
            "sudo apt-get install dbus-user-session",
        ),
        ("lingers", "no", "lingering: units of guest end with the last login", "sudo loginctl enable-linger guest"),
        ("library", "", "WasmEdge library: no libwasmedge.so.0", "sudo apt-get install libwasmedge0"),
        ("generator", "", "Quadlet: podman's generator", "sudo apt-get install podman"),
        (
            "ids",
            "",
            "podman without root: the user has no user ids",
            "sudo apt-get install uidmap; sudo usermod --add-subuids 231072-296607 --add-subgids 231072-296607 guest",
        ),
        ("home", "mktemp: Read-only file system", "home: it cannot be written to: mktemp: Read-only", "see to it"),
        ("free", "/dev/vda 4112096 3513044 372956 14% /", "free space in the home: 381.9 MB are free", "free some"),
        ("clock", "1795588591", "clock: it is 3h behind this host's", "set it: sudo timedatectl"),
        ("taken", "no-quota.service\nno-quota.service", "names of units: there already: no-quota.service", "remove"),
        ("left", "/home/guest/.assay-1", "earlier runs: another run is under way there", "cargo run -- gc"),
    ] {
        let (seen, help) = in_the_way(name, text);
        assert!(seen.starts_with(found) && help.starts_with(remedy), "{name}: {seen}; {help}");
    }
}

#[test]
fn without_systemd_checks_that_depend_on_it_are_left_out() {
    let (seen, _) = in_the_way("init", "tini");
    assert_eq!(seen, "systemd: it was started by tini, not by systemd");
}

#[test]
fn without_sudo_a_run_works_and_the_remedy_is_shown() {
    let preflight = with("root", "");
    let sudo = preflight.checks(true).into_iter().find(|check| check.name == "sudo").unwrap();
    assert!(!sudo.is_missing() && sudo.remedy.is_some_and(|remedy| remedy.contains("NOPASSWD")));
    assert_eq!(preflight.root, Root::Never);
}

#[test]
fn an_old_podman_needs_the_link_and_a_very_old_one_does_not_do() {
    let with = |podman: &str| {
        let mut preflight = with("link", "");
        preflight.facts.podman = Some(podman.to_owned());
        let checks = preflight.checks(true).into_iter().filter(PreflightCheck::is_missing);
        checks.map(|check| check.name).collect::<Vec<_>>()
    };
    assert_eq!((with("5.4.2"), with("4.9.3"), with("4.3.1")), (vec![], vec!["crun-wasm"], vec!["podman", "crun-wasm"]));
}

#[test]
fn without_controllers_a_run_works_where_podman_needs_none() {
    for (has, of_the_machine, unlimited, needed, found, remedy) in [
        ("cpu pids", "cpu memory pids", "", false, "no memory: no claim about", "Delegate=cpu memory pids"),
        ("cpu memory", "cpu memory pids", "", true, "no pids: no claim", "Delegate=cpu memory pids"),
        ("", "", "", true, "no cpu, memory, pids", "pids_limit = 0"),
        ("", "", "yes", false, "no cpu, memory, pids", "take a machine whose control groups of version 2 have them"),
    ] {
        let mut preflight = with("controllers", of_the_machine);
        preflight.text = preflight.text.replace("== unlimited\n", &format!("== unlimited\n{unlimited}\n"));
        preflight.facts.controllers = has.split_whitespace().map(str::to_owned).collect();
        let check = preflight.checks(true).into_iter().find(|check| check.name == "cgroup delegation").unwrap();
        assert_eq!(check.is_missing(), needed, "{check:?}");
        assert!(check.found.contains(found) && check.remedy.as_ref().unwrap().contains(remedy), "{check:?}");
        assert!(!preflight.checks(false).iter().any(PreflightCheck::is_missing), "{check:?}");
    }
}

#[tokio::test]
async fn unexpected_output_is_an_error_and_not_a_list_of_missing_requirements() {
    let fake =
        crate::exec::shell::Fake::default().answer("sh -s", 0, "Welcome\n").answer("systemd-detect-virt", 1, "none");
    let error = Preflight::take(&Shell::fake(fake), &[]).await.unwrap_err();
    assert!(format!("{error:#}").contains("its facts cannot be read"), "{error:#}");
}
