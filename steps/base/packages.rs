//! Names the commands that install packages on this host. Pure.

#[derive(Clone, Debug)]
pub struct Distribution {
    name: String,
    codename: String,
    apt: bool,
    root: bool,
}

impl Distribution {
    /// Parses an `os-release`; `root` means that the user needs no sudo.
    pub fn of(release: &str, root: bool) -> Distribution {
        let value = |key: &str| {
            let line = release.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
            line.unwrap_or_default().trim_matches('"').to_owned()
        };
        let family = format!("{} {}", value("ID"), value("ID_LIKE"));
        let apt = family.split(' ').any(|id| id == "debian" || id == "ubuntu");
        let name = Some(value("PRETTY_NAME")).filter(|name| !name.is_empty());
        Distribution {
            name: name.unwrap_or_else(|| "this distribution".to_owned()),
            codename: value("VERSION_CODENAME"),
            apt,
            root,
        }
    }

    /// Returns the command that installs packages, given by Debian's names.
    pub fn install(&self, packages: &[&str]) -> String {
        self.apt("install", packages)
    }

    pub fn reinstall(&self, packages: &[&str]) -> String {
        self.apt("install --reinstall", packages)
    }

    /// Returns the command that installs packages that are too old in Debian 12; `setup` adds the source of newer ones.
    pub fn install_newer(&self, packages: &[&str], setup: &str) -> String {
        match self.codename == "bookworm" && self.apt {
            true => {
                format!("{} ({setup} adds that source)", self.apt("install -t bookworm-backports", packages))
            }
            false => self.install(packages),
        }
    }

    fn apt(&self, verb: &str, packages: &[&str]) -> String {
        let packages = packages.join(" ");
        match self.apt {
            true => format!("{}apt-get {verb} {packages}", if self.root { "" } else { "sudo " }),
            false => format!("install on {} what Debian calls {packages}", self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOOKWORM: &str = "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_CODENAME=bookworm\nID=debian\n";

    #[test]
    fn the_command_is_that_of_the_distribution_and_the_user() {
        let bookworm = |root| Distribution::of(BOOKWORM, root);
        let mint = Distribution::of("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n", true);
        let trixie = Distribution::of("ID=debian\nVERSION_CODENAME=trixie\n", true);
        let fedora = Distribution::of("PRETTY_NAME=\"Fedora Linux 42\"\nID=fedora\n", true);
        for (command, expected) in [
            (bookworm(true).install(&["runc"]), "apt-get install runc"),
            (bookworm(false).install(&["crun", "runc"]), "sudo apt-get install crun runc"),
            (mint.reinstall(&["podman"]), "apt-get install --reinstall podman"),
            (fedora.install(&["mmdebstrap"]), "install on Fedora Linux 42 what Debian calls mmdebstrap"),
            (Distribution::of("", true).install(&["git"]), "install on this distribution what Debian calls git"),
            (
                bookworm(true).install_newer(&["qemu"], "ci/setup"),
                "apt-get install -t bookworm-backports qemu (ci/setup adds that source)",
            ),
            (trixie.install_newer(&["qemu"], "ci/setup"), "apt-get install qemu"),
        ] {
            assert_eq!(command, expected);
        }
    }
}
