//! Lists files, units and images of a machine. Two lists, taken before and after, show what was changed.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::exec::command::Command;
use crate::exec::shell::Shell;

const SCRIPT: &str = include_str!("state_snapshot/list.sh");

const LIMIT: Duration = Duration::from_secs(300);

const LISTED: usize = 5;

/// Each item's name, with the properties that show whether it was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateSnapshot(BTreeMap<String, String>);

impl StateSnapshot {
    pub async fn take(shell: &Shell) -> anyhow::Result<StateSnapshot> {
        let listed = shell.read(&Command::script(SCRIPT, &[]).time_limit(LIMIT)).await?;
        let items = listed.lines().filter_map(|line| line.split_once('\t'));
        let items: BTreeMap<String, String> = items.map(|(name, what)| (name.into(), what.into())).collect();
        anyhow::ensure!(!items.is_empty(), "{}: it shows no files at all", shell.machine());
        Ok(StateSnapshot(items))
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
        let more = all.len().saturating_sub(LISTED);
        all.truncate(LISTED);
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
    async fn what_was_added_changed_or_removed_is_listed_and_the_rest_is_counted() {
        let before = of("file /etc/a\tf 1 644 0 1.0\nunit ssh.service\tenabled\nimage x:1\tsha256:0\n").await.unwrap();
        assert_eq!(before.changes(&before), None);
        let after = of("file /etc/a\tf 2 644 0 1.0\nfile /etc/b\tf 1 644 0 1.0\nunit ssh.service\tenabled\n").await;
        let changes = "image x:1 is gone, file /etc/a was changed, file /etc/b is new";
        assert_eq!(before.changes(&after.unwrap()).unwrap(), changes);
        let lines: String = (0..9).map(|number| format!("file /b{number}\tf\n")).collect();
        let many = before.changes(&of(&lines).await.unwrap()).unwrap();
        assert!(many.starts_with("file /etc/a is gone, ") && many.ends_with(", and 7 more"), "{many}");
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
