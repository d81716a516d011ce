//! Lists files, units and images of a machine. Two lists, taken before and after, show what was changed.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::exec::command::Command;
use crate::exec::shell::Shell;

/// Lists everything on the machine's own file systems except what changes by itself: logs, the clocks of systemd's
/// timers, the seed of the next boot; and locks, which listing itself changes. Then lists unit files, and the user's
/// images.
const SCRIPT: &str = r#"
set -e
# The first list takes long on a busy, emulated CPU; after 25 s, systemctl would give up.
export SYSTEMD_BUS_TIMEOUT=200s
find / -xdev \( -path /var/log -o -path /tmp -o -path /run -o -path /var/tmp -o -path /var/lib/systemd \
    -o -path /var/cache/ldconfig -o -path /var/lib/private \) -prune \
    -o -not -type d -not -name '*.lock' -printf 'file %p\t%y %s %m %U %T@\n' 2>/dev/null || :
# Each in a command of its own: a pipe would hide that one failed, and every unit would then seem to be new.
units=$(systemctl list-unit-files --no-legend --plain)
own=$(systemctl --user list-unit-files --no-legend --plain)
printf '%s\n%s\n' "$units" "$own" | awk '$1 !~ /\.(scope|device|mount)$/ { print "unit " $1 "\t" $2 }'
podman images --noheading --no-trunc --format 'image {{.Repository}}:{{.Tag}}	{{.ID}}'
"#;

/// How long the lists may take, all together.
const LIMIT: Duration = Duration::from_secs(300);

/// How many differences are listed one by one.
const TOLD: usize = 5;

/// Each item's name, with the properties that show whether it was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateSnapshot(BTreeMap<String, String>);

impl StateSnapshot {
    pub async fn take(shell: &Shell) -> anyhow::Result<StateSnapshot> {
        let said = shell.read(&Command::script(SCRIPT, &[]).time_limit(LIMIT)).await?;
        let things: BTreeMap<String, String> = said
            .lines()
            .filter_map(|line| line.split_once('\t'))
            .map(|(name, what)| (name.into(), what.into()))
            .collect();
        anyhow::ensure!(!things.is_empty(), "{}: it shows no files at all", shell.machine());
        Ok(StateSnapshot(things))
    }

    /// Describes what was added, changed or removed up to a later snapshot; `None` if nothing was.
    pub fn changes(&self, later: &StateSnapshot) -> Option<String> {
        let (before, after) = (&self.0, &later.0);
        let gone = before.keys().filter(|name| !after.contains_key(*name)).map(|name| format!("{name} is gone"));
        let other = after.iter().filter_map(|(name, what)| match before.get(name) {
            None => Some(format!("{name} is new")),
            Some(old) if old != what => Some(format!("{name} was changed")),
            Some(_) => None,
        });
        let mut all: Vec<String> = gone.chain(other).collect();
        let more = all.len().saturating_sub(TOLD);
        all.truncate(TOLD);
        if more > 0 {
            all.push(format!("and {more} more"));
        }
        (!all.is_empty()).then(|| all.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::shell::Fake;

    async fn of(text: &str) -> anyhow::Result<StateSnapshot> {
        StateSnapshot::take(&Shell::fake(Fake::default().answer("sh -s", 0, text))).await
    }

    #[tokio::test]
    async fn what_was_added_changed_or_removed_is_told() {
        let before = of("file /etc/a\tf 1 644 0 1.0\nunit ssh.service\tenabled\nimage x:1\tsha256:0\n").await.unwrap();
        assert_eq!(before.changes(&before), None);
        let after = of("file /etc/a\tf 2 644 0 1.0\nfile /etc/b\tf 1 644 0 1.0\nunit ssh.service\tenabled\n").await;
        let said = "image x:1 is gone, file /etc/a was changed, file /etc/b is new";
        assert_eq!(before.changes(&after.unwrap()).unwrap(), said);
    }

    #[tokio::test]
    async fn many_changes_are_counted() {
        let before = of("file /etc/a\tf\n").await.unwrap();
        let lines: String = (0..9).map(|number| format!("file /b{number}\tf\n")).collect();
        let said = before.changes(&of(&lines).await.unwrap()).unwrap();
        assert!(said.starts_with("file /etc/a is gone, file /b0 is new") && said.ends_with("and 5 more"), "{said}");
    }

    #[tokio::test]
    async fn a_machine_that_shows_nothing_is_no_empty_machine() {
        assert!(of("").await.unwrap_err().to_string().ends_with("it shows no files at all"));
    }

    #[test]
    fn a_list_that_cannot_be_made_fails_the_script_and_is_not_taken_for_an_empty_one() {
        use std::os::unix::fs::PermissionsExt as _;
        let bin = tempfile::tempdir().unwrap();
        let program = |name: &str, script: &str| {
            let path = bin.path().join(name);
            std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
        };
        program("find", "printf 'file /a\\tf\\n'; exit 1");
        program("podman", "exit 0");
        for (systemctl, succeeds) in [("echo ssh.service enabled", true), ("exit 1", false)] {
            program("systemctl", systemctl);
            let path = format!("{}:/usr/bin:/bin", bin.path().display());
            let output = std::process::Command::new("sh").args(["-c", SCRIPT]).env("PATH", path).output().unwrap();
            assert_eq!(output.status.success(), succeeds, "{output:?}");
        }
    }
}
