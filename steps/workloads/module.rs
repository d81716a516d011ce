//! Reads a WebAssembly module: its size, imports and exports.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use wasmparser::{ExternalKind, Parser, Payload, Validator};

use crate::base::digest::sha256;
use crate::base::unit::Bytes;

/// A file that should be a WebAssembly module.
#[derive(Clone, Debug)]
pub struct Module {
    pub path: PathBuf,
    pub bytes: Vec<u8>,
    pub sha256: String,
}

impl Module {
    /// Reads a file, without checking that it is a module.
    pub fn read(path: &Path) -> anyhow::Result<Module> {
        let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Module { sha256: sha256(&bytes), bytes, path: path.to_owned() })
    }

    pub fn file_name(&self) -> &str {
        self.path.file_name().and_then(|name| name.to_str()).unwrap_or("module.wasm")
    }

    pub fn size(&self) -> Bytes {
        Bytes(self.bytes.len() as u64)
    }

    /// Returns the namespaces that it imports from (`wasi_snapshot_preview1`), and its exports with their kinds.
    pub fn interface(&self) -> anyhow::Result<(BTreeSet<String>, BTreeMap<String, &'static str>)> {
        let path = self.path.display();
        ensure!(
            !Parser::is_component(&self.bytes),
            "{path} is a WebAssembly component (WASI 0.2), and the annex's runtime takes core modules: build it for \
             wasm32-wasip1"
        );
        let read = || -> wasmparser::Result<_> {
            Validator::new().validate_all(&self.bytes)?;
            let (mut namespaces, mut exports) = (BTreeSet::new(), BTreeMap::new());
            for payload in Parser::new(0).parse_all(&self.bytes) {
                match payload? {
                    Payload::ImportSection(section) => {
                        for import in section.into_imports() {
                            namespaces.insert(import?.module.to_owned());
                        }
                    }
                    Payload::ExportSection(section) => {
                        for export in section {
                            let export = export?;
                            exports.insert(export.name.to_owned(), kind(export.kind));
                        }
                    }
                    _ => {}
                }
            }
            Ok((namespaces, exports))
        };
        read().with_context(|| format!("{path} is not a valid WebAssembly module"))
    }
}

fn kind(kind: ExternalKind) -> &'static str {
    match kind {
        ExternalKind::Func | ExternalKind::FuncExact => "function",
        ExternalKind::Memory => "memory",
        ExternalKind::Table => "table",
        ExternalKind::Global => "global",
        ExternalKind::Tag => "tag",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(bytes: &[u8]) -> Module {
        Module { path: "m.wasm".into(), bytes: bytes.to_vec(), sha256: sha256(bytes) }
    }

    /// `(module (import "env" "f" (func)) (memory (export "memory") 1) (func (export "_start")))`
    const COMMAND: &[u8] = b"\0asm\x01\0\0\0\
        \x01\x04\x01\x60\0\0\
        \x02\x09\x01\x03env\x01f\0\0\
        \x03\x02\x01\0\
        \x05\x03\x01\0\x01\
        \x07\x13\x02\x06memory\x02\0\x06_start\0\x01\
        \x0a\x04\x01\x02\0\x0b";

    #[test]
    fn namespaces_and_exports_are_read() {
        let (namespaces, exports) = module(COMMAND).interface().unwrap();
        assert_eq!(namespaces, BTreeSet::from(["env".to_owned()]));
        let wanted = [("memory", "memory"), ("_start", "function")].map(|(name, kind)| (name.to_owned(), kind));
        assert_eq!(exports, BTreeMap::from(wanted));
    }

    #[test]
    fn a_file_that_is_not_a_module_is_refused_by_name() {
        let error = module(b"\0asm\x0d\0\x01\0").interface().unwrap_err().to_string();
        assert!(error.starts_with("m.wasm is a WebAssembly component (WASI 0.2), and"), "{error}");
        for bytes in [&b"hello"[..], b"", &COMMAND[..COMMAND.len() - 2]] {
            let error = module(bytes).interface().unwrap_err();
            assert_eq!(error.to_string(), "m.wasm is not a valid WebAssembly module");
        }
    }
}
