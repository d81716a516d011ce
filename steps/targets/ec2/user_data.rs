//! Writes cloud-init user-data for an instance's first boot: its host key and its time limit.

use std::time::Duration;

/// Units that would start installing things, or hold the package manager's lock, in the middle of a measurement.
const QUIET: [&str; 3] = ["apt-daily.timer", "apt-daily-upgrade.timer", "unattended-upgrades.service"];

/// Returns the user-data. A timer is started before anything else, and needs nothing but the instance itself: it shuts
/// the instance down after `time_limit`, which terminates it. It must not wait for the boot: cloud-init waits for these
/// commands, and the boot for cloud-init.
pub fn text(host_key: &str, host_public: &str, time_limit: Duration) -> String {
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

    #[test]
    fn the_host_key_stands_in_it_as_a_block_and_the_timer_before_it() {
        let text = text("-----BEGIN\nAAAA\n-----END\n", "ssh-ed25519 BBBB host\n", Duration::from_secs(3600));
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
