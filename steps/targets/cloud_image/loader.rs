//! Finds what a disk is started with: its format, its EFI partition, the boot loaders there, and this host's firmware.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Deserialize;

use super::run;
use crate::base::platform::Arch;
use crate::base::programs;
use crate::targets::qemu::Start;
use crate::targets::remedy;

/// The unit in which parts of a disk are read.
const MIB: u64 = 1 << 20;
/// The partition type "EFI system", as a GUID partition table has it.
const EFI: [u8; 16] = *b"\x28\x73\x2a\xc1\x1f\xf8\xd2\x11\xba\x4b\x00\xa0\xc9\x3e\xc9\x3b";
/// The most of an EFI partition that is searched.
const EFI_MOST: u64 = 1024 * MIB;

/// What `qemu-img info` says of a file.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Info {
    format: String,
    backing_filename: Option<String>,
    #[serde(default)]
    format_specific: serde_json::Value,
}

/// A disk that can be read in parts.
struct Disk<'a> {
    file: &'a Path,
    format: &'static str,
    qemu_img: String,
}

impl Disk<'_> {
    fn open(file: &Path, arch: Arch) -> anyhow::Result<Disk<'_>> {
        let (qemu_img, name) = (programs::need("qemu-img", &remedy(arch))?, file.display().to_string());
        let info = run(&[&qemu_img, "info", "--output=json", &name]);
        let info = info.with_context(|| format!("--disk: {name} is not a disk"))?;
        let Info { format, backing_filename, format_specific } = serde_json::from_slice(&info)?;
        let format = ["qcow2", "raw"].into_iter().find(|known| *known == format).with_context(|| {
            format!("--disk: {name} is a disk in the format {format}: `qemu-img convert -O qcow2 {name} FILE` makes it qcow2")
        })?;
        // What such a file names could be any file of this host.
        let other = backing_filename.is_some() || format_specific.pointer("/data/data-file").is_some();
        anyhow::ensure!(
            !other,
            "--disk: {name} is only a part of a disk, and names another file: make it whole, with `qemu-img convert -O \
             qcow2 {name} FILE`"
        );
        Ok(Disk { file, format, qemu_img })
    }

    /// Reads whole MiB of it.
    fn read(&self, from: u64, count: u64) -> anyhow::Result<Vec<u8>> {
        let part = tempfile::NamedTempFile::new()?;
        let [file, out] =
            [("if", self.file), ("of", part.path())].map(|(name, path)| format!("{name}={}", path.display()));
        let [skip, count] = [format!("skip={from}"), format!("count={count}")];
        run(&[&self.qemu_img, "dd", "-f", self.format, "-O", "raw", "bs=1M", &skip, &count, &file, &out])?;
        Ok(fs::read(part.path())?)
    }
}

/// Checks that a file is a disk that machines of an architecture can start from, and returns its format and with
/// what they start.
pub fn inspect(file: &Path, arch: Arch) -> anyhow::Result<(&'static str, Start)> {
    let disk = Disk::open(file, arch)?;
    let first = disk.read(0, 1)?;
    let contents = match efi_partition(&first) {
        Some((start, size)) => disk.read(start / MIB, (size.min(EFI_MOST) + start % MIB).div_ceil(MIB))?,
        None => Vec::new(),
    };
    let start = start_with(&first, &contents, arch, firmware(arch));
    Ok((disk.format, start.with_context(|| format!("--disk: {} cannot be started", file.display()))?))
}

/// Decides with what a disk starts, from its first MiB and its EFI partition.
fn start_with(first: &[u8], efi: &[u8], arch: Arch, firmware: Option<[PathBuf; 2]>) -> anyhow::Result<Start> {
    anyhow::ensure!(
        first.get(510..512) == Some(b"\x55\xaa"),
        "it is not a disk of a machine, for it has neither a partition table nor a boot sector"
    );
    // A FAT file system has the names of its files in entries of 32 bytes.
    let holds = |arch: &Arch| efi.chunks_exact(32).any(|entry| entry[..11] == *loader(*arch));
    let loaders: Vec<Arch> = Arch::ALL.into_iter().filter(holds).collect();
    // A sector with nothing but a partition table does not start anything.
    let bios = arch == Arch::Amd64 && first[..440].iter().any(|byte| *byte != 0);
    match (loaders.contains(&arch), firmware) {
        (true, Some(files)) => Ok(Start::Loader(Some(files))),
        _ if bios => Ok(Start::Loader(None)),
        (true, None) => {
            let package = if arch == Arch::Amd64 { "ovmf" } else { "qemu-efi-aarch64" };
            anyhow::bail!("it starts from UEFI firmware, which is not installed: `apt-get install {package}` does that")
        }
        (false, _) => match loaders.first() {
            Some(other) => anyhow::bail!(
                "it is an image for {other}, and {arch} is wanted: use --target vm:{other}, or the image for {arch}"
            ),
            None => anyhow::bail!("it has no boot loader for {arch}, neither on an EFI partition nor in a boot sector"),
        },
    }
}

/// Returns where the EFI partition is, and its size.
fn efi_partition(first: &[u8]) -> Option<(u64, u64)> {
    let number = |bytes: Option<&[u8]>| Some(u64::from_le_bytes(bytes?.try_into().ok()?));
    if first.get(512..520)? != b"EFI PART" {
        // Four entries of 16 bytes: the type, and the first sector and their number.
        let short = |bytes: &[u8]| Some(u64::from(u32::from_le_bytes(bytes.try_into().ok()?)) * 512);
        let found = first.get(446..510)?.chunks_exact(16).find(|entry| entry[4] == 0xef)?;
        return Some((short(&found[8..12])?, short(&found[12..16])?));
    }
    let table = usize::try_from(number(first.get(584..592))?.checked_mul(512)?).ok()?;
    let found = first.get(table..)?.chunks_exact(128).find(|entry| entry[..16] == EFI)?;
    let [start, last] = [number(found.get(32..40))?, number(found.get(40..48))?];
    Some((start.checked_mul(512)?, (last.checked_sub(start)? + 1).checked_mul(512)?))
}

/// Returns the boot loader that firmware starts from any disk, as FAT spells its name.
fn loader(arch: Arch) -> &'static [u8; 11] {
    match arch {
        Arch::Amd64 => b"BOOTX64 EFI",
        Arch::Arm64 => b"BOOTAA64EFI",
    }
}

/// Returns this host's UEFI firmware for an architecture: its code and its variables.
fn firmware(arch: Arch) -> Option<[PathBuf; 2]> {
    let places: &[&str] = match arch {
        Arch::Amd64 => &["/usr/share/OVMF/OVMF_@_4M.fd", "/usr/share/OVMF/OVMF_@.fd"],
        Arch::Arm64 => &["/usr/share/AAVMF/AAVMF_@.fd"],
    };
    let files = places.iter().map(|place| ["CODE", "VARS"].map(|part| PathBuf::from(place.replace('@', part))));
    files.into_iter().find(|files| files.iter().all(|file| file.is_file()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error<T>(result: anyhow::Result<T>) -> String {
        format!("{:#}", result.err().expect("an error"))
    }

    #[test]
    fn an_efi_partition_is_found_in_either_table() {
        let mut disk = vec![0; 4096];
        disk[446 + 16 + 4] = 0xef;
        disk[446 + 16 + 8..][..8].copy_from_slice(&[0, 8, 0, 0, 16, 0, 0, 0]);
        assert_eq!(efi_partition(&disk), Some((MIB, 8192)));
        disk[512..520].copy_from_slice(b"EFI PART");
        disk[584] = 2;
        assert_eq!(efi_partition(&disk), None);
        disk[1024 + 128..][..16].copy_from_slice(&EFI);
        disk[1024 + 128 + 33] = 8;
        disk[1024 + 128 + 40..][..2].copy_from_slice(&[15, 8]);
        assert_eq!(efi_partition(&disk), Some((MIB, 8192)));
        disk[584..592].fill(0xff);
        assert_eq!(efi_partition(&disk), None, "a table that lies nowhere");
    }

    #[test]
    fn a_disk_starts_from_firmware_or_bios_or_the_error_says_why_not() {
        let firmware = || Some(["/code".into(), "/variables".into()]);
        let mut table = vec![0; 512];
        let start = |first: &[u8], efi: &[u8], arch, firmware| start_with(first, efi, arch, firmware);
        assert!(error(start(&table, b"", Arch::Amd64, None)).starts_with("it is not a disk of a machine"));
        table[510..].copy_from_slice(b"\x55\xaa");
        let boots = [&[0xeb][..], &table[1..]].concat();
        let efi = |name: &[u8; 11]| [&[0; 32][..], name, &[0; 21]].concat();
        let (x64, aa64) = (efi(loader(Arch::Amd64)), efi(loader(Arch::Arm64)));
        assert_eq!(start(&table, &x64, Arch::Amd64, firmware()).unwrap(), Start::Loader(firmware()));
        assert_eq!(start(&boots, &x64, Arch::Amd64, None).unwrap(), Start::Loader(None));
        for (first, efi, arch, found, wanted) in [
            (&table, &x64, Arch::Amd64, None, "is not installed: `apt-get install ovmf` does that"),
            (&table, &aa64, Arch::Arm64, None, "`apt-get install qemu-efi-aarch64` does that"),
            (
                &table,
                &aa64,
                Arch::Amd64,
                firmware(),
                "it is an image for arm64, and amd64 is wanted: use --target vm:arm64",
            ),
            (&boots, &x64, Arch::Arm64, firmware(), "it is an image for amd64"),
            (&table, &Vec::new(), Arch::Amd64, firmware(), "it has no boot loader for amd64"),
        ] {
            let error = error(start(first, efi, arch, found));
            assert!(error.contains(wanted), "{error}");
        }
    }
}
