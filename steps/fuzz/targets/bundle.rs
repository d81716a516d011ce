//! A run's folder with changes: verified, and reported.
#![no_main]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use assay::evidence::attestation;
use assay::evidence::bundle::{EvidenceBundle, SandboxedDir};
use assay::evidence::checksums::{SUMS, seal};
use assay::evidence::merge::{Merged, Part};
use assay::evidence::verify::{Trust, verify};
use assay::report;
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value as Json, json};

/// The claims of the recorded run that are left, so that an input takes milliseconds.
const CLAIMS: [&str; 3] = ["A6-4", "A7-1", "A8-1"];

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    /// Which report to make: all of them take too long.
    report: u8,
    changes: Vec<FileChange<'a>>,
}

#[derive(Arbitrary, Debug)]
struct FileChange<'a> {
    file: u8,
    edit: Edit<'a>,
}

#[derive(Arbitrary, Debug)]
enum Edit<'a> {
    /// Replaces a piece of the text.
    Text {
        at: u32,
        length: u16,
        text: &'a str,
    },
    /// Replaces a value in a file of JSON, or a line of it.
    Value {
        place: u16,
        value: New<'a>,
    },
    Remove,
    Whole(&'a [u8]),
}

#[derive(Arbitrary, Debug)]
enum New<'a> {
    Null,
    Integer(i64),
    Number(f64),
    Text(&'a str),
    /// The value with this number.
    Copy(u16),
    /// Itself, several times.
    List(u8),
}

type Files = BTreeMap<String, Vec<u8>>;

static RECORDED: LazyLock<Files> = LazyLock::new(|| {
    let root = assay_fuzz::project("fixtures/selfcheck");
    let folder = SandboxedDir::open(&root).expect("a fixture");
    let mut verdicts: Json = serde_json::from_str(&folder.text("verdicts.json").expect("it")).expect("JSON");
    verdicts["claims"].as_array_mut().expect("a list").retain(|claim| CLAIMS.iter().any(|id| claim["id"] == *id));
    let text = verdicts.to_string();
    let mut used = BTreeSet::new();
    visit(&mut verdicts, &mut |value| {
        let ids = value.get("samples").and_then(Json::as_array).into_iter().flatten();
        used.extend(ids.filter_map(Json::as_u64));
        false
    });
    let mut files = Files::new();
    for name in folder.names().expect("its names") {
        let bytes = folder.text(&name).expect("text");
        let claim = |part: &&str| CLAIMS.iter().any(|id| part.contains(id)) || part.contains("Feature:");
        let kept = match name.as_str() {
            "verdicts.json" => text.clone(),
            "samples.jsonl" => {
                let id =
                    |line: &&str| serde_json::from_str::<Json>(line).expect("a sample")["id"].as_u64().expect("an id");
                bytes.lines().filter(|line| used.contains(&id(line))).map(|line| format!("{line}\n")).collect()
            }
            "features/claims.toml" => {
                bytes.split("[[claim]]").filter(claim).map(|part| format!("[[claim]]{part}")).collect()
            }
            "transcript.jsonl" => bytes.lines().take(3).map(|line| format!("{line}\n")).collect(),
            _ if name.ends_with(".feature") => bytes.split("\n\n").filter(claim).collect::<Vec<_>>().join("\n\n"),
            _ => bytes,
        };
        let read = !(name.starts_with("trials/") || name.ends_with(".feature")) || text.contains(&name);
        if read {
            files.insert(name, kept.into_bytes());
        }
    }
    files
});

/// Passes each value to `each` until it returns true.
fn visit(value: &mut Json, each: &mut impl FnMut(&mut Json) -> bool) -> bool {
    each(value)
        || match value {
            Json::Array(items) => items.iter_mut().any(|item| visit(item, each)),
            Json::Object(fields) => fields.values_mut().any(|field| visit(field, each)),
            _ => false,
        }
}

/// Returns the text of JSON with another value in this place, counted over all of its values.
fn replaced(text: &str, place: u16, new: &New) -> Option<String> {
    let mut json: Json = serde_json::from_str(text).ok()?;
    let mut values = Vec::new();
    visit(&mut json, &mut |value| {
        values.push(value.clone());
        false
    });
    let place = usize::from(place) % values.len();
    let value = match new {
        New::Null => Json::Null,
        New::Integer(number) => json!(number),
        New::Number(number) => json!(number),
        New::Text(text) => json!(text),
        New::Copy(other) => values[usize::from(*other) % values.len()].clone(),
        New::List(times) => Json::Array(vec![values[place].clone(); usize::from(*times)]),
    };
    let mut left = place;
    visit(&mut json, &mut |old| {
        let here = left == 0;
        if here {
            *old = value.clone();
        }
        left = left.wrapping_sub(1);
        here
    });
    Some(json.to_string())
}

fn changed(old: &[u8], edit: &Edit) -> Option<Vec<u8>> {
    let text = String::from_utf8_lossy(old);
    match edit {
        Edit::Remove => None,
        Edit::Whole(bytes) => Some(bytes.to_vec()),
        Edit::Text { at, length, text: new } => {
            let start = text.floor_char_boundary(*at as usize % (text.len() + 1));
            let end = text.floor_char_boundary((start + usize::from(*length)).min(text.len()));
            Some([&text[..start], new, &text[end..]].concat().into_bytes())
        }
        Edit::Value { place, value } => {
            // The line of a `.jsonl` file by the same number.
            let lines: Vec<&str> = text.lines().collect();
            let line = usize::from(*place) % lines.len().max(1);
            let whole = replaced(&text, *place, value);
            whole
                .or_else(|| {
                    let mut lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
                    lines[line] = replaced(lines.get(line)?, *place, value)?;
                    Some(lines.join("\n"))
                })
                .map(String::into_bytes)
        }
    }
}

fn write(folder: &Path, files: &Files) {
    for (name, bytes) in files {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, bytes).expect("a file");
    }
}

fuzz_target!(|input: Input| {
    let mut files = RECORDED.clone();
    let names: Vec<String> = RECORDED.keys().cloned().chain([SUMS.to_owned()]).collect();
    for FileChange { file, edit } in &input.changes {
        let name = &names[usize::from(*file) % names.len()];
        match changed(files.get(name).map_or(b"", Vec::as_slice), edit) {
            Some(bytes) => drop(files.insert(name.clone(), bytes)),
            None => drop(files.remove(name)),
        }
    }
    let path = tempfile::tempdir().expect("a folder");
    write(path.path(), &files);
    let _ = verify(path.path(), &Trust::default());
    let Ok(bundle) = EvidenceBundle::open(path.path()) else { return };
    let report = usize::from(input.report) % (report::FILES.len() + 2);
    match report::FILES.get(report) {
        Some((_, make)) => drop(make(&bundle)),
        None if report == report::FILES.len() => {
            let _ = (attestation::statement(&bundle), bundle.commands(drop));
            seal(&bundle.folder).expect("a folder that was read can be sealed");
        }
        None => {
            let whole = Part::of(bundle).and_then(|part| Merged::of("whole".to_owned(), &[], vec![part]));
            if let Ok(whole) = whole {
                let _ = (whole.verdicts(), whole.facts(), report::make_merged(&whole));
            }
        }
    }
});
