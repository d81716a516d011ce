//! Picks the package mirror that machines are built from: the one that is set, else the host's own, else Debian's.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;

use super::definition::Distribution;
use crate::base::commands;
use crate::base::programs;
use crate::exec::command::{Command, tail};
use crate::exec::shell::Shell;

/// Debian's own address, for hosts that are not Debian.
const DEBIAN: &str = "http://deb.debian.org/debian";
/// The suites of a Debian archive proper, as opposed to its security, updates and backports.
const SUITES: [&str; 11] = [
    "bullseye",
    "bookworm",
    "trixie",
    "forky",
    "duke",
    "sid",
    "oldstable",
    "stable",
    "testing",
    "unstable",
    "oldoldstable",
];

/// Returns the mirror's address: the one that is set, else that of the host's own sources, else Debian's.
pub fn address(named: Option<&str>, apt: &Path) -> String {
    let named = named.map(|address| address.trim_end_matches('/').to_owned());
    named.or_else(|| host_mirror(&read(apt))).unwrap_or_else(|| DEBIAN.to_owned())
}

/// Downloads the distribution's release file with apt's own helper, so that the host's proxies and other settings
/// apply.
pub async fn reach(shell: &Shell, mirror: &str, distribution: Distribution, folder: &Path) -> anyhow::Result<()> {
    let helper = programs::find("/usr/lib/apt/apt-helper")
        .with_context(|| format!("apt is not installed: {} does that", commands::setup("")))?;
    let file = folder.join("InRelease");
    let command = Command::new(helper.display().to_string())
        .args(["-o", "Acquire::http::Timeout=8", "-o", "Acquire::https::Timeout=8", "-o", "Acquire::Retries=0"])
        .args(["download-file".to_owned(), format!("{mirror}/dists/{}/InRelease", distribution.suite())])
        .arg(file.display().to_string())
        .time_limit(Duration::from_secs(25));
    let output = shell.run(&command).await;
    let _ = fs::remove_file(&file);
    let said = match output {
        Ok(output) if output.succeeded() => return Ok(()),
        Ok(output) => tail(&output.errors(), 2).replace('\n', "; "),
        Err(error) => error.to_string(),
    };
    anyhow::bail!(
        "mirror {mirror} does not give {} ({}): {said}; set ASSAY_MIRROR to one that does",
        distribution.name(),
        distribution.suite()
    )
}

/// Reads the host's package sources, each with whether it is in the deb822 format.
fn read(apt: &Path) -> Vec<(bool, String)> {
    let mut files = vec![apt.join("sources.list")];
    let listed = fs::read_dir(apt.join("sources.list.d")).into_iter().flatten().flatten();
    let mut parts: Vec<_> = listed.map(|entry| entry.path()).collect();
    parts.sort();
    files.extend(parts);
    let form = |path: &Path| match path.extension()?.to_str()? {
        "list" => Some(false),
        "sources" => Some(true),
        _ => None,
    };
    files.iter().filter_map(|path| Some((form(path)?, fs::read_to_string(path).ok()?))).collect()
}

/// Returns the first HTTP or HTTPS address of a Debian archive proper.
fn host_mirror(texts: &[(bool, String)]) -> Option<String> {
    let sources = texts.iter().flat_map(|(deb822, text)| if *deb822 { stanzas(text) } else { lines(text) });
    let proper = |source: &Source| {
        source.suites.iter().any(|suite| SUITES.contains(&suite.as_str()))
            && source.components.iter().any(|component| component == "main")
    };
    sources
        .filter(proper)
        .flat_map(|source| source.addresses)
        .find(|address| address.starts_with("http://") || address.starts_with("https://"))
        .map(|address| address.trim_end_matches('/').to_owned())
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Source {
    addresses: Vec<String>,
    suites: Vec<String>,
    components: Vec<String>,
}

/// Parses the one-line format: `deb [options] address suite component…`.
fn lines(text: &str) -> Vec<Source> {
    let source = |line: &str| {
        let line = line.split('#').next()?.trim();
        let rest = line.strip_prefix("deb")?;
        let rest = rest.starts_with(char::is_whitespace).then(|| rest.trim_start())?;
        let rest = match rest.strip_prefix('[') {
            Some(options) => options.split_once(']')?.1,
            None => rest,
        };
        let mut words = rest.split_whitespace().map(str::to_owned);
        Some(Source { addresses: vec![words.next()?], suites: vec![words.next()?], components: words.collect() })
    };
    text.lines().filter_map(source).collect()
}

/// Parses the deb822 format: stanzas of `Field: values`, where a line that begins with a blank continues the previous
/// one.
fn stanzas(text: &str) -> Vec<Source> {
    let mut sources = Vec::new();
    let text: String = text.lines().filter(|line| !line.starts_with('#')).map(|line| format!("{line}\n")).collect();
    for stanza in text.split("\n\n") {
        let stanza = stanza.replace("\n ", " ").replace("\n\t", " ");
        let field = |name: &str| -> Vec<String> {
            let fields = stanza.lines().filter_map(|line| line.split_once(':'));
            let found = fields.into_iter().find(|(key, _)| key.trim().eq_ignore_ascii_case(name));
            found.map(|(_, values)| values.split_whitespace().map(str::to_owned).collect()).unwrap_or_default()
        };
        let off = field("Enabled").first().is_some_and(|word| ["no", "false", "0", "off"].contains(&word.as_str()));
        if !off && field("Types").iter().any(|kind| kind == "deb") {
            sources.push(Source { addresses: field("URIs"), suites: field("Suites"), components: field("Components") });
        }
    }
    sources
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mirror_of(deb822: bool, text: &str) -> Option<String> {
        host_mirror(&[(deb822, text.to_owned())])
    }

    #[test]
    fn the_one_line_form_is_read() {
        let text = "# deb http://commented/debian bookworm main\n\
                    deb-src http://sources/debian bookworm main\n\
                    deb http://security/debian-security bookworm-security main\n\
                    deb [arch=amd64 signed-by=/a b] https://mirror.example/debian/ bookworm main contrib # ours\n";
        assert_eq!(mirror_of(false, text).as_deref(), Some("https://mirror.example/debian"));
        assert_eq!(mirror_of(false, "deb cdrom:[Debian]/ bookworm main\ndeb file:/srv/d bookworm main\n"), None);
    }

    #[test]
    fn the_deb822_form_is_read() {
        let text = "Types: deb\nURIs: http://backports/debian\nSuites: bookworm-backports\nComponents: main\n\n\
                    Types: deb deb-src\n# a note\nURIs:\n  http://mirror.example/debian\nSuites: bookworm\n  \
                    bookworm-updates\nComponents: main\nSigned-By: /k.gpg\n";
        assert_eq!(mirror_of(true, text).as_deref(), Some("http://mirror.example/debian"));
        assert_eq!(mirror_of(true, &text.replace("# a note", "Enabled: no")), None);
    }

    #[test]
    fn a_host_of_another_distribution_falls_back_to_debian() {
        let ubuntu =
            "Types: deb\nURIs: http://archive.ubuntu.com/ubuntu/\nSuites: noble noble-updates\nComponents: main\n";
        assert_eq!(mirror_of(true, ubuntu), None);
        let nowhere = Path::new("/nonexistent");
        assert_eq!(address(None, nowhere), "http://deb.debian.org/debian");
        assert_eq!(address(Some("http://own/debian/"), nowhere), "http://own/debian");
    }
}
