//! Prepares an instance as the annex does, step by step, with times.

use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::base::progress::Progress;
use crate::exec::command::Command;
use crate::exec::shell::Shell;
use crate::targets::{SetupStep, cloud_init};

/// How long one step may take; on a t4g.nano the longest takes a minute or two, on an emulated CPU ten times as long.
const LIMIT: Duration = Duration::from_secs(15 * 60);

/// Waits for other users of the package manager, such as a new machine's own first boot.
const LOCK: &str = "DPkg::Lock::Timeout=300";

/// Units that would start installing things, or hold the package manager's lock, in the middle of a measurement.
const QUIET: [&str; 3] = ["apt-daily.timer", "apt-daily-upgrade.timer", "unattended-upgrades.service"];

/// Returns the steps by their names. Only lingering is not in the annex, whose user stays logged in instead.
fn steps() -> [(&'static str, Vec<&'static str>); 5] {
    let install =
        |package| vec!["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qy", "-o", LOCK, "install", package];
    [
        ("update", vec!["apt-get", "-q", "-o", LOCK, "update"]),
        ("podman", install("podman")),
        ("wasmedge", install("libwasmedge0")),
        ("link", vec!["ln", "-s", "/usr/bin/crun", "/usr/local/bin/crun-wasm"]),
        ("linger", vec!["loginctl", "enable-linger", USER]),
    ]
}

/// The user that Ubuntu's images have.
pub const USER: &str = "ubuntu";

/// Waits until cloud-init is done, and makes the machine the annex's device.
pub async fn set_up(shell: &Shell, progress: &Progress) -> anyhow::Result<Vec<SetupStep>> {
    let started = Instant::now();
    let status = cloud_init::wait(shell, LIMIT).await?;
    let mut steps = vec![SetupStep { name: "cloud-init", line: status.line.clone(), wall: started.elapsed() }];
    for (name, argv) in self::steps() {
        progress.note(format!("{}: set-up: {name}", shell.machine()));
        let command = Command::new("sudo").args(argv).time_limit(LIMIT);
        let output = shell.run(&command).await?;
        let (line, wall) = (output.line.clone(), output.wall);
        output.success().with_context(|| format!("{}: its set-up fails at \"{name}\"", shell.machine()))?;
        steps.push(SetupStep { name, line, wall });
    }
    Ok(steps)
}

/// Returns the user-data. A timer is started before anything else, and needs nothing but the instance itself: it shuts
/// the instance down after `time_limit`, which terminates it. It must not wait for the boot: cloud-init waits for these
/// commands, and the boot for cloud-init.
pub fn user_data(host_key: &str, host_public: &str, time_limit: Duration) -> String {
    let private: String = host_key.trim_end().lines().map(|line| format!("    {line}\n")).collect();
    format!(
        "#cloud-config\n\
         bootcmd:\n\
         - [systemd-run, --no-block, --unit=assay-expiry, --timer-property=DefaultDependencies=no, \
         --property=DefaultDependencies=no, --on-active={}s, systemctl, poweroff]\n\
         - [systemctl, mask, {}]\n\
         ssh_deletekeys: true\n\
         ssh_keys:\n\
         \x20 ed25519_private: |\n\
         {private}\
         \x20 ed25519_public: {}\n\
         ssh_pwauth: false\n\
         package_update: false\n\
         package_upgrade: false\n",
        time_limit.as_secs(),
        QUIET.join(", "),
        host_public.trim(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::shell::Fake;

    #[tokio::test]
    async fn the_annex_installs_podman_before_the_library_and_each_step_is_timed() {
        let fake = Fake::default().answer("cloud-init", 0, "status: done\n").answer("sudo", 0, "");
        let steps = set_up(&Shell::fake(fake), &Progress::to(|_| {})).await.unwrap();
        let names: Vec<&str> = steps.iter().map(|step| step.name).collect();
        assert_eq!(names, ["cloud-init", "update", "podman", "wasmedge", "link", "linger"]);
        assert!(steps[3].line.ends_with("install libwasmedge0") && steps[3].wall > Duration::ZERO, "{:?}", steps[3]);
    }

    #[tokio::test]
    async fn an_error_names_the_step() {
        for (fake, expected) in [
            (Fake::default().answer("cloud-init", 1, "status: error\n"), "cloud-init did not end well: status: error"),
            (
                Fake::default().answer("cloud-init", 2, "status: done\n").answer("sudo apt-get -q", 100, "no mirror"),
                "its set-up fails at \"update\": ",
            ),
        ] {
            let error = format!("{:#}", set_up(&Shell::fake(fake), &Progress::to(|_| {})).await.unwrap_err());
            assert!(error.starts_with(&format!("fake: {expected}")), "{error}");
        }
    }

    #[test]
    fn the_host_key_stands_in_it_as_a_block_and_the_timer_before_it() {
        let text = user_data("-----BEGIN\nAAAA\n-----END\n", "ssh-ed25519 BBBB host\n", Duration::from_secs(3600));
        assert!(text.starts_with("#cloud-config\nbootcmd:\n- [systemd-run, --no-block, --unit=assay-expiry, "));
        assert!(
            text.contains(" --on-active=3600s, systemctl, poweroff]\n- [systemctl, mask, apt-daily.timer, "),
            "{text}"
        );
        assert!(
            text.contains(
                "\nssh_keys:\n  ed25519_private: |\n    -----BEGIN\n    AAAA\n    -----END\n  ed25519_public: \
                 ssh-ed25519 BBBB host\nssh_pwauth: false\n"
            ),
            "{text}"
        );
    }
}
