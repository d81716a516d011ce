//! Reads the steps from their source files.
//!
//! The program knows its steps only by their compiled patterns and their places. Each step found in a source is
//! compiled again and must give the same pattern, so that none is missed and none is shown wrongly.

use std::path::Path;
use std::sync::LazyLock;

use anyhow::Context as _;
use cucumber::codegen::{Expression, ParametersProvider, Spanned, StepConstructor, WorldInventory, inventory};
use cucumber::step::Location;
use regex::Regex;

use crate::e2e::params::KINDS;
use crate::e2e::world::ScenarioWorld;

/// How a step's text describes what it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Text,
    Expression,
    Pattern,
}

/// A step as it is written in its source.
#[derive(Clone, Debug)]
pub struct Source {
    pub keyword: &'static str,
    pub place: Location,
    pub form: Form,
    pub expression: String,
    /// The comment above it.
    pub does: Option<String>,
    pub about: String,
}

/// Returns all steps of this program as they are written, ordered by place.
pub fn all() -> anyhow::Result<Vec<Source>> {
    let mut registered: Vec<_> = registered::<<ScenarioWorld as WorldInventory>::Given>("Given")
        .chain(registered::<<ScenarioWorld as WorldInventory>::When>("When"))
        .chain(registered::<<ScenarioWorld as WorldInventory>::Then>("Then"))
        .collect();
    registered.sort_by_key(|(_, place, _)| *place);
    let mut sources = Vec::new();
    for (keyword, place, pattern) in registered {
        let source = written(keyword, place, text(place.path)?);
        let source = source.filter(|source| source.pattern().as_deref() == Some(&pattern));
        sources.push(source.with_context(|| format!("the step at {place} cannot be read from its source"))?);
    }
    Ok(sources)
}

fn registered<S>(keyword: &'static str) -> impl Iterator<Item = (&'static str, Location, String)>
where
    S: inventory::Collect + StepConstructor<ScenarioWorld>,
{
    inventory::iter::<S>.into_iter().map(move |step| {
        let (place, pattern, _) = step.inner();
        (keyword, place, pattern().as_str().to_owned())
    })
}

/// The sources of the steps, as they were when this program was built.
macro_rules! sources {
    ($($module:literal),*) => { [$((concat!("steps/e2e/", $module, ".rs"), include_str!(concat!("../", $module, ".rs")))),*] };
}
const SOURCES: [(&str, &str); 12] = sources![
    "baseline",
    "cloud",
    "device",
    "findings",
    "guest",
    "image",
    "own",
    "podman_run",
    "registry",
    "resources",
    "service",
    "wrong_subjects"
];

fn text(path: &str) -> anyhow::Result<&'static str> {
    let found = SOURCES.iter().find(|(source, _)| path.ends_with(source));
    found.map(|(_, text)| *text).with_context(|| format!("{path} is missing in steps/e2e/catalogue/source.rs"))
}

/// Parses the step whose attribute begins at a place.
fn written(keyword: &'static str, place: Location, text: &str) -> Option<Source> {
    static ATTRIBUTE: LazyLock<Regex> = LazyLock::new(|| {
        let literal = r##"r"(?<raw>[^"]*)"|r#"(?<hashed>.*?)"#|(?<plain>"(?:[^"\\]|\\.)*")"##;
        Regex::new(&format!(r"(?s)^\s*#\[\w+\(\s*(?:(?<form>expr|regex)\s*=\s*)?(?:{literal})\s*\)\]"))
            .expect("it is a pattern")
    });
    let before = usize::try_from(place.line).ok()?.checked_sub(1)?;
    let start: usize = text.split_inclusive('\n').take(before).map(str::len).sum();
    let found = ATTRIBUTE.captures(text.get(start..)?)?;
    let form = match found.name("form").map(|form| form.as_str()) {
        None => Form::Text,
        Some("expr") => Form::Expression,
        Some(_) => Form::Pattern,
    };
    let expression = match (found.name("raw").or(found.name("hashed")), found.name("plain")) {
        (Some(raw), _) => raw.as_str().to_owned(),
        // Steps escape only quotes and backslashes, and JSON escapes them in the same way.
        (None, plain) => serde_json::from_str(plain?.as_str()).ok()?,
    };
    let above: Vec<&str> = text.lines().take(before).collect();
    let comment = above.iter().rev().map_while(|line| line.trim_start().strip_prefix("///"));
    let mut comment: Vec<&str> = comment.map(str::trim).collect();
    comment.reverse();
    let about = text.lines().next().and_then(|line| line.strip_prefix("//! ")).unwrap_or_default();
    Some(Source {
        keyword,
        place,
        form,
        expression,
        does: (!comment.is_empty()).then(|| comment.join(" ")),
        about: about.to_owned(),
    })
}

impl Source {
    fn pattern(&self) -> Option<String> {
        match self.form {
            Form::Text => Some(format!("^{}$", regex::escape(&self.expression))),
            Form::Expression => {
                Expression::regex_with_parameters(&self.expression, Ours).ok().map(|pattern| pattern.to_string())
            }
            Form::Pattern => Some(self.expression.clone()),
        }
    }

    pub fn module(&self) -> String {
        Path::new(self.place.path).file_stem().unwrap_or_default().to_string_lossy().into_owned()
    }

    pub fn parameters(&self) -> Vec<String> {
        static PARAMETER: LazyLock<Regex> =
            LazyLock::new(|| Regex::new(r"\\.|\{(?<name>\w*)\}").expect("it is a pattern"));
        match self.form {
            Form::Text => Vec::new(),
            Form::Expression => {
                let found = PARAMETER.captures_iter(&self.expression).filter_map(|found| found.name("name"));
                found.map(|name| name.as_str().to_owned()).collect()
            }
            Form::Pattern => {
                let groups = Regex::new(&self.expression).map_or(0, |pattern| pattern.captures_len() - 1);
                (1..=groups).map(|group| group.to_string()).collect()
            }
        }
    }
}

/// Provides our own parameter types to cucumber's compiler of expressions.
#[derive(Clone, Copy)]
struct Ours;

impl<'s> ParametersProvider<Spanned<'s>> for Ours {
    type Item = char;
    type Value = &'static str;

    fn get(&self, name: &Spanned<'s>) -> Option<&'static str> {
        KINDS.iter().find(|kind| kind.name == *name.fragment()).map(|kind| kind.regexp)
    }
}
