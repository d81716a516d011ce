//! Makes a machine's SSH keys, hands them over on a separate disk, and pins the host key.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::Context as _;

use crate::exec::shell::{Login, new_key, old_keys};

/// The user that images are made with.
pub const USER: &str = "assay";
/// The size that the disk is padded to a multiple of: QEMU needs whole sectors.
const SECTOR: usize = 64 * 1024;

/// The disk that carries the keys into a machine, in its folder.
pub const DISK: &str = "keys.tar";
/// The user's private key, in a machine's folder.
pub const IDENTITY: &str = "id";
/// The host's public key, in a machine's folder.
pub const KNOWN: &str = "known_hosts";

/// Makes a user key and a host key for a machine, and writes to its folder the identity and known hosts with which a
/// person can log in by plain `ssh`. Returns the login, without the address, and the host's private key in OpenSSH's
/// format.
pub fn pair(machine: &str, user: &str, folder: &Path) -> anyhow::Result<(Login, String)> {
    let (key, text) = new_key(&format!("assay {machine}"))?;
    let (host, host_text) = new_key(&format!("host {machine}"))?;
    let known = format!("{machine} {}\n", host.public_key().to_openssh()?);
    write(&folder.join(IDENTITY), text.as_bytes())?;
    write(&folder.join(KNOWN), known.as_bytes())?;
    let login = Login {
        machine: machine.to_owned(),
        address: String::new(),
        user: user.to_owned(),
        key,
        host_key: host.public_key().clone(),
    };
    Ok((login, host_text))
}

/// Makes the keys of a VM, and also writes to its folder the disk that carries them in. Returns the login.
pub fn make(machine: &str, folder: &Path) -> anyhow::Result<Login> {
    let (login, host_text) = pair(machine, USER, folder)?;
    let authorized = login.key.public_key().to_openssh()? + "\n";
    let archive = archive(&host_text, &authorized).context("the keys' archive cannot be made")?;
    write(&folder.join(DISK), &archive)?;
    Ok(login)
}

/// Copies the keys of the machine in `from`, for one that is restored from it under another name.
pub fn again(machine: &str, from: &Path, folder: &Path) -> anyhow::Result<Login> {
    let read = |name: &str| {
        let path = from.join(name);
        fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))
    };
    let (text, known) = (read(IDENTITY)?, read(KNOWN)?);
    let (_, host) = known.trim_end().split_once(' ').context("the known host has no key")?;
    write(&folder.join(IDENTITY), text.as_bytes())?;
    write(&folder.join(KNOWN), format!("{machine} {host}\n").as_bytes())?;
    let (key, host_key) = old_keys(&text, host)?;
    let (machine, user) = (machine.to_owned(), USER.to_owned());
    Ok(Login { machine, address: String::new(), user, key, host_key })
}

/// Returns the command that a person types to log in.
pub fn command_line(machine: &str, user: &str, host: &str, port: u16, folder: &Path) -> String {
    let [id, known] = [IDENTITY, KNOWN].map(|name| folder.join(name).display().to_string());
    format!(
        "ssh -F none -i {id} -o UserKnownHostsFile={known} -o HostKeyAlias={machine} -o StrictHostKeyChecking=yes \
         -p {port} {user}@{host}"
    )
}

/// Writes a file that only its owner may read.
pub(super) fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let open = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    open.and_then(|mut file| file.write_all(bytes)).with_context(|| format!("{} cannot be written", path.display()))
}

/// Makes a tar archive with everything owned by root, padded to whole sectors.
fn archive(host_key: &str, authorized: &str) -> std::io::Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut entry = |path: &str, mode: u32, kind: tar::EntryType, text: &str| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(text.len() as u64);
        tar.append_data(&mut header, path, text.as_bytes())
    };
    entry("etc/ssh/assay_host_key", 0o600, tar::EntryType::Regular, host_key)?;
    entry("home/assay/.ssh/", 0o700, tar::EntryType::Directory, "")?;
    entry("home/assay/.ssh/authorized_keys", 0o600, tar::EntryType::Regular, authorized)?;
    let mut bytes = tar.into_inner()?;
    bytes.resize(bytes.len().next_multiple_of(SECTOR), 0);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restored_machine_has_the_keys_of_the_frozen_one() {
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let frozen = make("nano-boot", first.path()).unwrap();
        let thawed = again("nano", first.path(), second.path()).unwrap();
        assert_eq!(thawed.key.public_key(), frozen.key.public_key());
        assert_eq!(thawed.host_key, frozen.host_key);
        assert!(fs::read_to_string(second.path().join(KNOWN)).unwrap().starts_with("nano ssh-ed25519 "));
        fs::remove_file(first.path().join(KNOWN)).unwrap();
        assert!(again("nano-2", first.path(), second.path()).is_err());
    }

    #[test]
    fn the_disk_carries_both_keys_with_their_modes() {
        let folder = tempfile::tempdir().unwrap();
        let login = make("nano", folder.path()).unwrap();
        let bytes = std::fs::read(folder.path().join(DISK)).unwrap();
        assert_eq!(bytes.len() % SECTOR, 0);
        let user_key = login.key.public_key().to_openssh().unwrap();
        let wanted = [
            ("etc/ssh/assay_host_key", 0o600, "-----BEGIN OPENSSH PRIVATE KEY-----"),
            ("home/assay/.ssh/", 0o700, ""),
            ("home/assay/.ssh/authorized_keys", 0o600, &*user_key),
        ];
        let mut archive = tar::Archive::new(bytes.as_slice());
        for (entry, (path, mode, text)) in archive.entries().unwrap().zip(wanted) {
            let entry = entry.unwrap();
            let header = entry.header();
            let found = (header.uid().unwrap(), header.gid().unwrap(), header.mode().unwrap());
            assert_eq!((&*entry.path().unwrap(), found), (Path::new(path), (0, 0, mode)));
            assert!(std::io::read_to_string(entry).unwrap().starts_with(text), "{path}");
        }
        assert_eq!(tar::Archive::new(bytes.as_slice()).entries().unwrap().count(), wanted.len());
    }
}
