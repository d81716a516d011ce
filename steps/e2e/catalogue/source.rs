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
use serde::Serialize;

use crate::e2e::params::{BUILT_IN, KINDS};
use crate::e2e::world::ScenarioWorld;

/// A step as it is written in its source.
#[derive(Debug, Serialize)]
pub struct Source {
    /// Given, When or Then.
    pub keyword: &'static str,
    /// Its text as written: plain text, a cucumber expression, or a regular expression from `^` to `$`.
    pub expression: String,
    /// The name of its source file, without folder and extension.
    pub module: String,
    /// The first line of its module's documentation.
    #[serde(skip)]
    pub about: String,
    #[serde(skip)]
    pub location: Location,
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

/// How a step's text describes what it matches.
#[derive(Clone, Copy, Debug)]
enum Form {
    Text,
    Expression,
    Pattern,
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
        let written = written(keyword, place, text(place.path)?);
        let written = written.filter(|(form, source)| form.pattern(&source.expression).as_deref() == Some(&pattern));
        let (form, mut source) =
            written.with_context(|| format!("the step at {place} cannot be read from its source"))?;
        source.parameters = form.parameters(&source.expression).with_context(|| source.place.clone())?;
        sources.push(source);
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
const SOURCES: [(&str, &str); 13] = sources![
    "baseline",
    "cloud",
    "cost",
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
fn written(keyword: &'static str, location: Location, text: &str) -> Option<(Form, Source)> {
    static ATTRIBUTE: LazyLock<Regex> = LazyLock::new(|| {
        let literal = r##"r"(?<raw>[^"]*)"|r#"(?<hashed>.*?)"#|(?<plain>"(?:[^"\\]|\\.)*")"##;
        Regex::new(&format!(r"(?s)^\s*#\[\w+\(\s*(?:(?<form>expr|regex)\s*=\s*)?(?:{literal})\s*\)\]"))
            .expect("it is a pattern")
    });
    let before = usize::try_from(location.line).ok()?.checked_sub(1)?;
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
    let source = Source {
        keyword,
        expression,
        module: Path::new(location.path).file_stem()?.to_string_lossy().into_owned(),
        about: about.to_owned(),
        place: format!("{}:{}", location.path, location.line),
        location,
        parameters: Vec::new(),
        does: (!comment.is_empty()).then(|| comment.join(" ")),
    };
    Some((form, source))
}

impl Form {
    fn pattern(self, expression: &str) -> Option<String> {
        match self {
            Form::Text => Some(format!("^{}$", regex::escape(expression))),
            Form::Expression => {
                Expression::regex_with_parameters(expression, Ours).ok().map(|pattern| pattern.to_string())
            }
            Form::Pattern => Some(expression.to_owned()),
        }
    }

    fn parameters(self, expression: &str) -> anyhow::Result<Vec<Parameter>> {
        static PARAMETER: LazyLock<Regex> =
            LazyLock::new(|| Regex::new(r"\\.|\{(?<name>\w*)\}").expect("it is a pattern"));
        match self {
            Form::Text => Ok(Vec::new()),
            Form::Expression => {
                let found = PARAMETER.captures_iter(expression).filter_map(|found| found.name("name"));
                found.map(|name| of_type(name.as_str())).collect()
            }
            Form::Pattern => {
                let takes = "what matches the brackets of its pattern";
                let groups = 1..Regex::new(expression)?.captures_len();
                Ok(groups.map(|group| Parameter { name: group.to_string(), takes: takes.to_owned() }).collect())
            }
        }
    }
}

fn of_type(name: &str) -> anyhow::Result<Parameter> {
    let mut known = KINDS.iter().map(|kind| (kind.name, kind.takes)).chain(BUILT_IN.iter().copied());
    let (name, takes) = known
        .find(|(known, _)| *known == name)
        .with_context(|| format!("no entry says what {{{name}}} takes: see steps/e2e/params.rs"))?;
    Ok(Parameter { name: name.to_owned(), takes: takes.to_owned() })
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
