//! Reads the user's known_hosts files as OpenSSH does.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use hmac::{Hmac, KeyInit as _, Mac as _};
use russh::keys::ssh_key::known_hosts::{Entry, HostPatterns, Marker};
use russh::keys::{Algorithm, PublicKey};
use sha1::Sha1;

/// The location of a line: the file, and the line's number from 1.
pub(super) type Place = (PathBuf, usize);

/// What the known_hosts files say about one host.
#[derive(Debug, Default)]
pub(super) struct KnownKeys {
    keys: Vec<(Place, PublicKey)>,
    revoked: Vec<(Place, PublicKey)>,
    /// Keys of the same host without its port: enough to accept a key, not to call another key changed.
    anywhere: Vec<PublicKey>,
    /// The line that trusts a certificate authority for this host.
    pub authority: Option<Place>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    Known,
    Unknown,
    /// This line has another key for the host.
    Changed(Place),
    /// This line revokes the key.
    Revoked(Place),
}

impl KnownKeys {
    /// Reads the entries for a host, or for its HostKeyAlias. Missing files are ignored.
    pub(super) fn read(files: &[PathBuf], host: &str, port: u16, alias: Option<&str>) -> Result<KnownKeys, String> {
        let mut known = KnownKeys::default();
        for file in files {
            match std::fs::read(file) {
                Ok(bytes) => known.add(file, &String::from_utf8_lossy(&bytes), host, port, alias),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(format!("cannot read {}: {error}", file.display())),
            }
        }
        Ok(known)
    }

    fn add(&mut self, file: &Path, text: &str, host: &str, port: u16, alias: Option<&str>) {
        let name = match alias {
            Some(alias) => alias.to_owned(),
            None => name(host, port),
        };
        for (index, line) in text.lines().enumerate() {
            let words: Vec<&str> = line.split_whitespace().collect();
            // Like OpenSSH, skip lines that cannot be parsed.
            let Ok(entry) = words.join(" ").parse::<Entry>() else { continue };
            let (place, key) = ((file.to_owned(), index + 1), entry.public_key().clone());
            match (entry.marker(), names(entry.host_patterns(), &name)) {
                (Some(Marker::Revoked), true) => self.revoked.push((place, key)),
                (Some(Marker::CertAuthority), true) => self.authority = self.authority.take().or(Some(place)),
                (None, true) => self.keys.push((place, key)),
                (None, false) if alias.is_none() && names(entry.host_patterns(), host) => self.anywhere.push(key),
                _ => {}
            }
        }
    }

    pub(super) fn judge(&self, shown: &PublicKey) -> Judgement {
        let same = |key: &PublicKey| key.key_data() == shown.key_data();
        if let Some((place, _)) = self.revoked.iter().find(|(_, key)| same(key)) {
            return Judgement::Revoked(place.clone());
        }
        let kind = |key: &PublicKey| key.algorithm() == shown.algorithm();
        match self.keys.iter().find(|(_, key)| kind(key)).or(self.keys.first()) {
            _ if self.keys.iter().any(|(_, key)| same(key)) => Judgement::Known,
            Some((place, _)) => Judgement::Changed(place.clone()),
            None if self.anywhere.iter().any(same) => Judgement::Known,
            None => Judgement::Unknown,
        }
    }

    /// Moves the algorithms of known keys to the front: a host has several keys, and presents one of a preferred kind.
    pub(super) fn order(&self, algorithms: &[Algorithm]) -> Vec<Algorithm> {
        let known = |one: &Algorithm| self.keys.iter().any(|(_, key)| same_kind(&key.algorithm(), one));
        let (mut first, rest): (Vec<_>, Vec<_>) = algorithms.iter().cloned().partition(known);
        first.extend(rest);
        first
    }
}

/// Returns whether two algorithms use the same kind of key; RSA algorithms differ only in their hash.
pub(super) fn same_kind(one: &Algorithm, other: &Algorithm) -> bool {
    one == other || matches!((one, other), (Algorithm::Rsa { .. }, Algorithm::Rsa { .. }))
}

/// Returns the name of a host and port in known_hosts.
pub(super) fn name(host: &str, port: u16) -> String {
    match port {
        22 => host.to_owned(),
        port => format!("[{host}]:{port}"),
    }
}

fn names(patterns: &HostPatterns, name: &str) -> bool {
    match patterns {
        HostPatterns::HashedName { salt, hash } => {
            Hmac::<Sha1>::new_from_slice(salt).is_ok_and(|hmac| hmac.chain_update(name).verify_slice(hash).is_ok())
        }
        HostPatterns::Patterns(patterns) => {
            let matches = |pattern: &str| matches(pattern.to_lowercase().as_bytes(), name.as_bytes());
            let denied = patterns.iter().filter_map(|pattern| pattern.strip_prefix('!')).any(matches);
            !denied && patterns.iter().any(|pattern| matches(pattern))
        }
    }
}

/// Returns whether a text matches a pattern with `*` and `?`.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern, text) {
        ([], []) => true,
        ([b'*', rest @ ..], _) => (0..=text.len()).any(|skipped| matches(rest, &text[skipped..])),
        ([b'?', rest @ ..], [_, text @ ..]) => matches(rest, text),
        ([c, rest @ ..], [first, text @ ..]) => c == first && matches(rest, text),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ED25519: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILIG2T/B0l0gaqj3puu510tu9N1OkQ4znY3LYuEm5zCF";
    const OTHER: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
    /// The entry that `ssh-keygen -H` writes for example.com.
    const HASHED: &str = "|1|O33ESRMWPVkMYIwJ1Uw+n877jTo=|nuuC5vEqXlEZ/8BXQR7m619W6Ak=";

    fn judge(text: &str, host: &str, port: u16, alias: Option<&str>) -> Judgement {
        let mut known = KnownKeys::default();
        known.add(Path::new("known_hosts"), text, host, port, alias);
        known.judge(&PublicKey::from_openssh(ED25519).unwrap())
    }

    fn line(number: usize) -> Place {
        ("known_hosts".into(), number)
    }

    #[test]
    fn a_host_is_known_by_its_name_port_pattern_hash_or_alias() {
        for (names, host, port, alias) in [
            ("example.com", "example.com", 22, None),
            ("other,example.com", "example.com", 22, None),
            ("[example.com]:2200", "example.com", 2200, None),
            ("example.com", "example.com", 2200, None),
            ("*.Example.com,!b?d.example.com", "good.example.com", 22, None),
            (HASHED, "example.com", 22, None),
            ("farm", "example.com", 2200, Some("farm")),
        ] {
            assert_eq!(judge(&format!("# mine\n{names}\t{ED25519} a comment\n"), host, port, alias), Judgement::Known);
        }
    }

    #[test]
    fn a_host_of_another_name_port_or_alias_is_not_known() {
        for (names, host, port, alias) in [
            ("example.com", "example.org", 22, None),
            ("[example.com]:2200", "example.com", 22, None),
            ("*.example.com,!b?d.example.com", "bad.example.com", 22, None),
            (HASHED, "example.org", 22, None),
            ("example.com", "example.com", 22, Some("farm")),
            ("@cert-authority example.com", "example.com", 22, None),
        ] {
            assert_eq!(judge(&format!("{names} {ED25519}"), host, port, alias), Judgement::Unknown, "{names}");
        }
    }

    #[test]
    fn another_key_than_the_known_one_is_told_with_its_line() {
        let text = format!("nonsense\nhost {OTHER}\n");
        assert_eq!(judge(&text, "host", 22, None), Judgement::Changed(line(2)));
        assert_eq!(judge(&text, "host", 2200, None), Judgement::Unknown);
        assert_eq!(judge(&format!("{text}host {ED25519}"), "host", 22, None), Judgement::Known);
    }

    #[test]
    fn a_revoked_key_is_refused_even_where_it_is_known() {
        let text = format!("host {ED25519}\n@revoked host {ED25519}\n");
        assert_eq!(judge(&text, "host", 22, None), Judgement::Revoked(line(2)));
    }

    #[test]
    fn a_host_is_asked_for_the_key_that_is_known() {
        let ecdsa = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBEmKSENjQEezOmxkZMy7opKgwFB9nkt\
                     5YRrYMjNuG5N87uRgg6CLrbo5wAdT/y6v0mKV0U2w0WZ2YB/++Tpockg=";
        let mut known = KnownKeys::default();
        known.add(Path::new("known_hosts"), &format!("host {ecdsa}"), "host", 22, None);
        let order = known.order(&[Algorithm::Ed25519, PublicKey::from_openssh(ecdsa).unwrap().algorithm()]);
        assert!(matches!(order[..], [Algorithm::Ecdsa { .. }, Algorithm::Ed25519]), "{order:?}");
    }
}
