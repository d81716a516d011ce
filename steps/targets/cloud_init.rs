//! Makes the seed that cloud-init reads on a cloud image's first boot, and waits until it has done what the seed says.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::keys::{self, USER};
use crate::exec::command::{Command, Output, tail};
use crate::exec::shell::{Login, Shell};

/// The disk that carries the seed, in a machine's folder.
pub const SEED: &str = "seed.iso";
/// The size of a block of ISO 9660.
const BLOCK: usize = 2048;

/// Waits until cloud-init is done.
pub async fn wait(shell: &Shell, limit: Duration) -> anyhow::Result<Output> {
    let wait = Command::new("cloud-init").args(["status", "--wait", "--long"]).time_limit(limit);
    let status = shell.run(&wait).await?;
    // Its exit status 2 means "recoverable errors": a warning of a module that is not needed here.
    let done = status.text().lines().any(|line| line.trim() == "status: done");
    anyhow::ensure!(done, "{}: cloud-init did not end well: {}", shell.machine(), tail(&status.text(), 8));
    Ok(status)
}

/// Makes the keys of a machine, and writes to its folder the seed that carries them in. Returns the login.
pub fn seed(machine: &str, folder: &Path) -> anyhow::Result<Login> {
    let (login, host_key) = keys::pair(machine, USER, folder)?;
    let [user, host] = [login.key.public_key(), &login.host_key].map(|key| key.to_openssh());
    let config = format!("#cloud-config\n{:#}\n", user_data(&user?, &host_key, &host?));
    let about = json!({ "instance-id": "assay", "local-hostname": "assay" }).to_string();
    keys::write(&folder.join(SEED), &iso("cidata", &[("META-DATA.;1", &about), ("USER-DATA.;1", &config)]))?;
    Ok(login)
}

/// Returns the user-data, which is YAML, as JSON: a user, and a host key that is pinned. The disk stays as it is.
fn user_data(user_key: &str, host_key: &str, host_public: &str) -> Value {
    json!({
        "users": [{
            "name": USER,
            "shell": "/bin/sh",
            "lock_passwd": true,
            "sudo": "ALL=(ALL) NOPASSWD:ALL",
            "ssh_authorized_keys": [user_key],
        }],
        "ssh_deletekeys": true,
        "ssh_keys": { "ed25519_private": host_key, "ed25519_public": host_public },
        "ssh_pwauth": false,
        "growpart": { "mode": "off" },
        "resize_rootfs": false,
        "package_update": false,
        "package_upgrade": false,
    })
}

/// Makes an ISO 9660 file system of a few files in one folder, without the path tables, which no Linux reads. Linux shows
/// `USER-DATA.;1` as `user-data`.
fn iso(label: &str, files: &[(&str, &str)]) -> Vec<u8> {
    const ROOT: usize = 18;
    let blocks = |size: usize| size.div_ceil(BLOCK);
    let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
    // Numbers are there twice, in either order of their bytes.
    let both = |value: usize| [number(value).to_le_bytes(), number(value).to_be_bytes()].concat();
    let both_short = |value: u16| [value.to_le_bytes(), value.to_be_bytes()].concat();
    let entry = |name: &[u8], block: usize, size: usize, folder: bool| {
        let mut entry = vec![0, 0];
        entry.extend(both(block));
        entry.extend(both(size));
        // No time; a folder or a file; not interleaved.
        entry.extend([0, 0, 0, 0, 0, 0, 0, if folder { 2 } else { 0 }, 0, 0]);
        entry.extend(both_short(1));
        entry.extend(u8::try_from(name.len()));
        entry.extend(name);
        entry.resize(entry.len().next_multiple_of(2), 0);
        entry[0] = u8::try_from(entry.len()).unwrap_or(u8::MAX);
        entry
    };
    let mut folder: Vec<u8> = [&b"\0"[..], b"\x01"].map(|name| entry(name, ROOT, BLOCK, true)).concat();
    let (mut contents, mut end) = (Vec::new(), ROOT + 1);
    for (name, text) in files {
        folder.extend(entry(name.as_bytes(), end, text.len(), false));
        contents.extend(text.as_bytes());
        contents.resize(blocks(contents.len()) * BLOCK, 0);
        end += blocks(text.len());
    }
    let mut volume = vec![0; BLOCK];
    volume[8..72].fill(b' ');
    volume[190..813].fill(b' ');
    for (place, bytes) in [
        (0, &b"\x01CD001\x01"[..]),
        (40, label.as_bytes()),
        (80, &both(end)),
        (120, &both_short(1)),
        (124, &both_short(1)),
        (128, &both_short(2048)),
        (156, &entry(b"\0", ROOT, BLOCK, true)),
        (881, b"\x01"),
    ] {
        volume[place..place + bytes.len()].copy_from_slice(bytes);
    }
    let mut disk = vec![0; 16 * BLOCK];
    disk.extend(volume);
    for part in [&b"\xffCD001\x01"[..], &folder, &contents] {
        disk.extend(part);
        disk.resize(blocks(disk.len()) * BLOCK, 0);
    }
    // QEMU takes whole sectors of a disk, whatever their size.
    disk.resize(disk.len().next_multiple_of(64 * 1024), 0);
    disk
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Reads the files of an ISO 9660 file system, in its one folder, as Linux does.
    fn files(disk: &[u8]) -> Vec<(String, String)> {
        let number = |bytes: &[u8]| u32::from_le_bytes(bytes[..4].try_into().unwrap()) as usize;
        let mut entries = &disk[number(&disk[16 * BLOCK + 158..]) * BLOCK..];
        let mut found = Vec::new();
        while entries[0] != 0 {
            let (entry, rest) = entries.split_at(entries[0].into());
            let name = String::from_utf8(entry[33..33 + usize::from(entry[32])].to_vec()).unwrap();
            let text = &disk[number(&entry[2..]) * BLOCK..][..number(&entry[10..])];
            if entry[25] == 0 {
                found.push((name.to_lowercase().replace(".;1", ""), String::from_utf8(text.to_vec()).unwrap()));
            }
            entries = rest;
        }
        found
    }

    #[test]
    fn the_seed_carries_a_user_and_a_pinned_host_key_and_leaves_the_disk_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let login = seed("cloud-image", folder.path()).unwrap();
        let disk = fs::read(folder.path().join(SEED)).unwrap();
        assert_eq!(
            (&disk[16 * BLOCK + 1..][..5], disk[16 * BLOCK + 40..][..7].as_ref()),
            (&b"CD001"[..], &b"cidata "[..])
        );
        let files = files(&disk);
        assert_eq!(files.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["meta-data", "user-data"]);
        let config: Value = serde_json::from_str(files[1].1.strip_prefix("#cloud-config\n").unwrap()).unwrap();
        let key = |key: &str| config.pointer(key).cloned().unwrap_or_default();
        assert_eq!(key("/users/0/name"), USER);
        assert_eq!(key("/users/0/ssh_authorized_keys/0"), login.key.public_key().to_openssh().unwrap());
        assert_eq!(key("/ssh_keys/ed25519_public"), login.host_key.to_openssh().unwrap());
        assert!(
            key("/ssh_keys/ed25519_private").as_str().unwrap().starts_with("-----BEGIN OPENSSH PRIVATE KEY-----\n")
        );
        assert_eq!((key("/growpart/mode"), key("/resize_rootfs")), (json!("off"), json!(false)));
        assert_eq!((key("/package_update"), key("/package_upgrade")), (json!(false), json!(false)));
    }
}
