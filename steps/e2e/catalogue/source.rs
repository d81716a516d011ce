//! Reads the steps from their source files, as they were when this program was built: cucumber knows only their compiled
//! patterns and their places.

use std::sync::LazyLock;

use anyhow::Context as _;
use regex::Regex;
use serde::Serialize;

use crate::e2e::params::{BUILT_IN, KINDS};

/// A step as it is written in its source.
#[derive(Debug, Serialize)]
pub struct StepSource {
    pub keyword: &'static str,
    /// Its text as written: plain text, a cucumber expression, or a regular expression from `^` to `$`.
    pub expression: String,
    /// The name of its source file, without folder and extension.
    pub module: &'static str,
    /// The first line of its module's documentation.
    #[serde(skip)]
    pub about: &'static str,
    /// File and line.
    pub place: String,
    pub parameters: Vec<Parameter>,
    /// The comment above it: what it does, if its text does not say everything.
    pub does: Option<String>,
}

/// A parameter of a step, in its text or below it.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Parameter {
    pub name: String,
    pub takes: String,
}

macro_rules! sources {
    ($($module:literal),*) => { [$(($module, include_str!(concat!("../", $module, ".rs")))),*] };
}
/// The names and texts of all modules of steps, ordered by name.
const SOURCES: [(&str, &str); 15] = sources![
    "baseline",
    "cloud",
    "device",
    "findings",
    "guest",
    "image",
    "own",
    "pair",
    "paste",
    "podman_run",
    "registry",
    "resources",
    "service",
    "up",
    "wrong_subjects"
];

/// Returns all steps as they are written, ordered by place.
pub fn all() -> anyhow::Result<Vec<StepSource>> {
    static ATTRIBUTE: LazyLock<Regex> = LazyLock::new(|| {
        let literal = r#"r"(?<raw>[^"]*)"|(?<plain>"(?:[^"\\]|\\.)*")"#;
        Regex::new(&format!(r"(?m)^#\[(?<keyword>given|when|then)\((?:(?:expr|regex) = )?(?:{literal})\)\]$"))
            .expect("it is a pattern")
    });
    let mut sources = Vec::new();
    for (module, text) in SOURCES {
        let about = text.lines().next().and_then(|line| line.strip_prefix("//! ")).unwrap_or_default();
        for found in ATTRIBUTE.captures_iter(text) {
            let above: Vec<&str> = text[..found.get_match().start()].lines().collect();
            let comment = above.iter().rev().map_while(|line| line.strip_prefix("/// "));
            let comment: Vec<&str> = comment.collect::<Vec<_>>().into_iter().rev().collect();
            let expression = match (found.name("raw"), found.name("plain")) {
                (Some(raw), _) => raw.as_str().to_owned(),
                // Steps escape only quotes and backslashes, and JSON escapes them in the same way.
                (None, plain) => serde_json::from_str(plain.map_or("", |plain| plain.as_str()))?,
            };
            let place = format!("steps/e2e/{module}.rs:{}", above.len() + 1);
            sources.push(StepSource {
                keyword: match &found["keyword"] {
                    "given" => "Given",
                    "when" => "When",
                    _ => "Then",
                },
                parameters: parameters(&expression).with_context(|| place.clone())?,
                expression,
                module,
                about,
                place,
                does: (!comment.is_empty()).then(|| comment.join(" ")),
            });
        }
    }
    Ok(sources)
}

fn parameters(expression: &str) -> anyhow::Result<Vec<Parameter>> {
    static NAME: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\\.|\{(?<name>\w*)\}").expect("it is a pattern"));
    if expression.starts_with('^') {
        let takes = "what matches the brackets of its pattern";
        let groups = 1..Regex::new(expression)?.captures_len();
        return Ok(groups.map(|group| Parameter { name: group.to_string(), takes: takes.to_owned() }).collect());
    }
    let names = NAME.captures_iter(expression).filter_map(|found| found.name("name"));
    let parameter = |name: &str| {
        let mut known = KINDS.iter().map(|kind| (kind.name, kind.takes)).chain(BUILT_IN.iter().copied());
        let (_, takes) = known
            .find(|(known, _)| *known == name)
            .with_context(|| format!("no entry says what {{{name}}} takes: see steps/e2e/params.rs"))?;
        Ok(Parameter { name: name.to_owned(), takes: takes.to_owned() })
    };
    names.map(|name| parameter(name.as_str())).collect()
}
