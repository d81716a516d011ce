//! Lists all steps, with what each takes, an example, and how often the features use it.

mod source;

use std::collections::HashMap;
use std::fmt::Write as _;

use assay::base::commands;
use assay::claims::feature_file;
use assay::claims::plan::FeatureFile;
use assay::claims::suite::ClaimSuite;
use cucumber::gherkin::Step;
use regex::{NoExpand, Regex};
use serde::Serialize;

use crate::e2e::params::{KINDS, ParameterKind};
use crate::e2e::traced;
use source::{Parameter, StepSource};

/// How similar a step must be to the typed one to be suggested; 1 is identical.
const NEAR: f64 = 0.55;
/// A step that is less similar than the nearest one by more than this is not suggested.
const FAR: f64 = 0.25;
const OFFERED: usize = 3;

/// All steps, in a form for programs.
#[derive(Debug, Serialize)]
struct Catalogue {
    schema: u32,
    steps: Vec<StepEntry>,
    parameter_types: &'static [ParameterKind],
}

#[derive(Debug, Serialize)]
struct StepEntry {
    #[serde(flatten)]
    source: StepSource,
    example: Option<Example>,
    uses: usize,
}

/// A step as a feature uses it, without its keyword.
#[derive(Clone, Debug, Serialize)]
struct Example {
    text: String,
    /// File and line.
    place: String,
}

pub fn listed(suite: &ClaimSuite, json: bool) -> anyhow::Result<String> {
    let mut uses = uses(&suite.features);
    let entry = |mut source: StepSource| {
        let Some(Uses { first, below, scenarios }) = uses.remove(&source.place) else {
            return StepEntry { source, example: None, uses: 0 };
        };
        source.parameters.extend(below);
        StepEntry { source, example: Some(first), uses: scenarios }
    };
    let steps = source::all()?.into_iter().map(entry).collect();
    let catalogue = Catalogue { schema: 1, steps, parameter_types: KINDS };
    match json {
        true => Ok(serde_json::to_string_pretty(&catalogue)?),
        false => Ok(catalogue.render()),
    }
}
struct Uses {
    first: Example,
    /// The table below the text of the first use.
    below: Option<Parameter>,
    scenarios: usize,
}

/// Finds the steps that the features use, by their places in the code.
fn uses(features: &[FeatureFile]) -> HashMap<String, Uses> {
    let mut uses: HashMap<String, Uses> = HashMap::new();
    for file in features {
        for scenario in file.scenarios().into_iter().map(|expanded| expanded.scenario) {
            let mut seen = Vec::new();
            for step in &scenario.steps {
                let Ok(Some((_, _, Some(found), _))) = traced::written().find(step) else { continue };
                // The compiler may have been given an absolute path.
                let path = &found.path[found.path.rfind("steps/e2e/").unwrap_or(0)..];
                let place = format!("{path}:{}", found.line);
                if seen.contains(&place) {
                    continue;
                }
                seen.push(place.clone());
                let first =
                    || Example { text: step.value.clone(), place: format!("{}:{}", file.path, step.position.line) };
                let new = || Uses { first: first(), below: below(step), scenarios: 0 };
                uses.entry(place).or_insert_with(new).scenarios += 1;
            }
        }
    }
    uses
}

fn below(step: &Step) -> Option<Parameter> {
    let heads = step.table.as_ref()?.rows.first()?.join(", ");
    Some(Parameter { name: "table".to_owned(), takes: format!("a table below the step: {heads}") })
}

impl Catalogue {
    /// Prints a paragraph for each step, below the description of its module.
    fn render(&self) -> String {
        let mut out = String::new();
        let mut module = "";
        for StepEntry { source: step, example, uses } in &self.steps {
            if step.module != module {
                module = step.module;
                let gap = if out.is_empty() { "" } else { "\n" };
                let _ = writeln!(out, "{gap}{module}: {}", step.about);
            }
            let _ = writeln!(out, "\n  {} {}", step.keyword, step.expression);
            let mut line = |label: &str, text: &str| writeln!(out, "      {label:<8} {text}");
            if let Some(does) = &step.does {
                let _ = line("does", does);
            }
            for (index, parameter) in step.parameters.iter().enumerate() {
                if !step.parameters[..index].contains(parameter) {
                    let _ = line("takes", &format!("{{{}}}: {}", parameter.name, parameter.takes));
                }
            }
            let used = match example {
                Some(example) => {
                    // A step without parameters is its own example.
                    if example.text != step.expression {
                        let _ = line("example", &format!("{} {}", step.keyword, example.text));
                    }
                    let many = if *uses == 1 { "scenario" } else { "scenarios" };
                    format!("by {uses} {many}, first at {}", example.place)
                }
                None => "by no feature".to_owned(),
            };
            let _ = line("used", &used);
            let _ = line("written", &step.place);
        }
        let unused = self.steps.iter().filter(|step| step.uses == 0).count();
        let _ = writeln!(out, "\n{} steps, {unused} of them used by no feature", self.steps.len());
        out
    }
}

/// Suggests what to write instead of an undefined step.
pub fn instead_of(step: &Step) -> String {
    if let Some(found) = feature_file::invisible_in(&step.value) {
        return format!("it contains an invisible character, U+{:04X}: type it anew", u32::from(found));
    }
    // Without the sources, there is nothing to suggest.
    let sources = source::all().unwrap_or_default();
    let typed = without_values(&step.value);
    let likeness = |step: &str| strsim::normalized_damerau_levenshtein(&typed, &without_values(step));
    let offer = |source: &StepSource| {
        let step = source.expression.trim_matches(['^', '$']);
        (likeness(step), format!("\"{} {step}\"", source.keyword))
    };
    let mut near: Vec<_> = sources.iter().map(offer).collect();
    near.sort_by(|(one, _), (other, _)| other.total_cmp(one));
    let nearest = near.first().map_or(0.0, |(likeness, _)| *likeness);
    near.retain(|(likeness, _)| *likeness >= NEAR.max(nearest - FAR));
    let near = near.into_iter().take(OFFERED).map(|(_, step)| step);
    match near.reduce(|all, next| format!("{all} or {next}")) {
        Some(near) => format!("did you mean {near}?"),
        None => format!("`{}` lists those that there are", commands::assay("steps")),
    }
}

/// Replaces the values in a step's text by their types, so that values do not make steps similar or different.
fn without_values(text: &str) -> String {
    let quoted = [("string", "\"[^\"]*\"")].into_iter();
    let kinds = quoted.chain(KINDS.iter().map(|kind| (kind.name, kind.regexp))).chain([("int", r"\d+")]);
    kinds.fold(text.to_owned(), |text, (name, pattern)| match Regex::new(pattern) {
        Ok(pattern) => pattern.replace_all(&text, NoExpand(&format!("{{{name}}}"))).into_owned(),
        Err(_) => text,
    })
}
