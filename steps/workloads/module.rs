//! Reads a WebAssembly module: its size, imports and exports.

use std::path::{Path, PathBuf};

use anyhow::Context;
use wasmparser::{ExternalKind, Parser, Payload, Validator};

use crate::base::digest::sha256;
use crate::base::unit::Bytes;

/// A file that should be a WebAssembly module.
#[derive(Clone, Debug)]
pub struct Module {
    /// The file's path.
    pub path: PathBuf,
    /// The file's contents.
    pub bytes: Vec<u8>,
    /// The SHA-256 of the contents.
    pub sha256: String,
}

/// An item that a module needs from its host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Import {
    /// The namespace, such as `wasi_snapshot_preview1`.
    pub namespace: String,
    /// The name within the namespace, such as `fd_write`.
    pub name: String,
}

/// An item that a module offers to its host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// Its name, such as `_start`.
    pub name: String,
    /// Its kind: `function`, `memory`, `table`, `global` or `tag`.
    pub kind: &'static str,
}

impl Module {
    /// Reads a file, without checking that it is a module.
    pub fn read(path: &Path) -> anyhow::Result<Module> {
        let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Module { sha256: sha256(&bytes), bytes, path: path.to_owned() })
    }

    /// Returns the file's name.
    pub fn file_name(&self) -> &str {
        self.path.file_name().and_then(|name| name.to_str()).unwrap_or("module.wasm")
    }

    /// Returns the file's size.
    pub fn size(&self) -> Bytes {
        Bytes(self.bytes.len() as u64)
    }

    /// Lists all imports, in the order of the file.
    pub fn imports(&self) -> anyhow::Result<Vec<Import>> {
        let mut imports = Vec::new();
        self.sections(|payload| {
            if let Payload::ImportSection(section) = payload {
                for import in section.into_imports() {
                    let import = import?;
                    imports.push(Import { namespace: import.module.to_owned(), name: import.name.to_owned() });
                }
            }
            Ok(())
        })?;
        Ok(imports)
    }

    /// Lists all exports, in the order of the file.
    pub fn exports(&self) -> anyhow::Result<Vec<Export>> {
        let mut exports = Vec::new();
        self.sections(|payload| {
            if let Payload::ExportSection(section) = payload {
                for export in section {
                    let export = export?;
                    exports.push(Export { name: export.name.to_owned(), kind: kind(export.kind) });
                }
            }
            Ok(())
        })?;
        Ok(exports)
    }

    fn sections(&self, mut see: impl FnMut(Payload<'_>) -> wasmparser::Result<()>) -> anyhow::Result<()> {
        let mut walk = || {
            Validator::new().validate_all(&self.bytes)?;
            Parser::new(0).parse_all(&self.bytes).try_for_each(|payload| see(payload?))
        };
        walk().with_context(|| format!("{} is not a valid WebAssembly module", self.path.display()))
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
    fn imports_and_exports_are_told_by_name() {
        let imports = module(COMMAND).imports().unwrap();
        assert_eq!(imports, [Import { namespace: "env".into(), name: "f".into() }]);
        let exports = module(COMMAND).exports().unwrap();
        let wanted = [("memory", "memory"), ("_start", "function")];
        assert_eq!(exports, wanted.map(|(name, kind)| Export { name: name.into(), kind }));
    }

    #[test]
    fn what_is_no_module_is_refused_by_name() {
        for bytes in [&b"hello"[..], b"", &COMMAND[..COMMAND.len() - 2]] {
            let error = module(bytes).imports().unwrap_err();
            assert_eq!(error.to_string(), "m.wasm is not a valid WebAssembly module");
        }
    }
}
