//! Converts a feature to Cucumber Messages: its text, its tree, and its scenarios as they are run. Every id is made of
//! the line of its element, so that the same file has the same ids.

use gherkin::{Background, Examples, LineCol, Rule, Scenario, Step, Table};
use serde_json::{Value as Json, json};

use crate::claims::expand::{ExpandedScenario, piped_lines, row_lines};
use crate::claims::plan::FeatureFile;

/// A scenario as it is run, including the steps of the backgrounds above it.
pub struct Pickle<'a> {
    /// The path of its file, relative to the project.
    pub path: &'a str,
    pub line: usize,
    /// All tags that count, without the `@`.
    pub tags: Vec<String>,
    /// The lines of its steps.
    pub steps: Vec<usize>,
    /// The whole pickle, as a message.
    pub message: Json,
}

impl Pickle<'_> {
    pub fn place(&self) -> String {
        format!("{}:{}", self.path, self.line)
    }
}

/// Returns the id of a step in the pickle at a place.
pub fn step_id(place: &str, line: usize) -> String {
    format!("pickle {place}, step {line}")
}

pub struct Document<'a>(pub &'a FeatureFile);

impl<'a> Document<'a> {
    pub fn source(&self) -> Json {
        json!({ "uri": self.0.path, "data": self.0.text, "mediaType": "text/x.cucumber.gherkin+plain" })
    }

    /// Makes the syntax tree.
    pub fn tree(&self) -> Json {
        let feature = &self.0.feature;
        let rule = |rule: &Rule| {
            json!({ "rule": {
                "id": self.id(rule.position), "location": location(rule.position),
                "tags": self.tags(&rule.tags, rule.position), "keyword": rule.keyword, "name": rule.name,
                "description": described(&rule.description),
                "children": self.children(rule.background.as_ref(), &rule.scenarios),
            } })
        };
        let mut children = self.children(feature.background.as_ref(), &feature.scenarios);
        children.extend(feature.rules.iter().map(rule));
        json!({ "uri": self.0.path, "comments": [], "feature": {
            "location": location(feature.position), "tags": self.tags(&feature.tags, feature.position),
            "language": self.0.language, "keyword": feature.keyword, "name": feature.name,
            "description": described(&feature.description), "children": children,
        } })
    }

    pub fn pickles(&self) -> Vec<Pickle<'a>> {
        self.0.scenarios().iter().map(|expanded| self.pickle(expanded)).collect()
    }

    fn id(&self, place: LineCol) -> String {
        format!("{}:{}", self.0.path, place.line)
    }

    fn tags(&self, names: &[String], below: LineCol) -> Vec<Json> {
        let tag = |name: &String| {
            let name = format!("@{name}");
            let place = tag_place(&self.0.text, &name, below);
            json!({ "id": format!("{} {name}", self.id(below)), "name": name, "location": location(place) })
        };
        names.iter().map(tag).collect()
    }

    fn children(&self, background: Option<&Background>, scenarios: &[Scenario]) -> Vec<Json> {
        let background = background.map(|background| self.background(background));
        background.into_iter().chain(scenarios.iter().map(|scenario| self.scenario(scenario))).collect()
    }

    fn background(&self, background: &Background) -> Json {
        json!({ "background": {
            "id": self.id(background.position), "location": location(background.position),
            "keyword": background.keyword, "name": background.name,
            "description": described(&background.description), "steps": self.steps(&background.steps),
        } })
    }

    fn scenario(&self, scenario: &Scenario) -> Json {
        let examples: Vec<Json> = scenario.examples.iter().map(|examples| self.examples(examples)).collect();
        json!({ "scenario": {
            "id": self.id(scenario.position), "location": location(scenario.position),
            "tags": self.tags(&scenario.tags, scenario.position), "keyword": scenario.keyword,
            "name": scenario.name, "description": described(&scenario.description),
            "steps": self.steps(&scenario.steps), "examples": examples,
        } })
    }

    fn steps(&self, steps: &[Step]) -> Vec<Json> {
        let step = |step: &Step| {
            let below = location(LineCol { line: step.position.line + 1, col: 0 });
            let text = step.docstring.as_deref();
            json!({
                "id": self.id(step.position), "location": location(step.position),
                "keyword": step.keyword, "text": step.value,
                "docString": text.map(|text| json!({ "location": below, "content": text, "delimiter": "\"\"\"" })),
                "dataTable": step.table.as_ref().map(|table| json!({ "location": below, "rows": self.rows(table) })),
            })
        };
        steps.iter().map(step).collect()
    }

    fn rows(&self, table: &Table) -> Vec<Json> {
        let row = |(cells, &line): (&Vec<String>, &usize)| {
            let place = LineCol { line, col: 0 };
            let at = location(place);
            let cells: Vec<Json> = cells.iter().map(|value| json!({ "location": at, "value": value })).collect();
            json!({ "id": self.id(place), "location": at, "cells": cells })
        };
        table.rows.iter().zip(row_lines(table, &piped_lines(&self.0.text))).map(row).collect()
    }

    fn examples(&self, examples: &Examples) -> Json {
        let mut rows = examples.table.as_ref().map(|table| self.rows(table)).unwrap_or_default();
        let body = rows.split_off(rows.len().min(1));
        json!({
            "id": self.id(examples.position), "location": location(examples.position),
            "tags": self.tags(&examples.tags, examples.position), "keyword": examples.keyword,
            "name": examples.name.as_deref().unwrap_or_default(), "description": described(&examples.description),
            "tableHeader": rows.pop(), "tableBody": body,
        })
    }

    fn pickle(&self, ExpandedScenario { scenario, written, rule, examples, .. }: &ExpandedScenario) -> Pickle<'a> {
        let (place, row) = (self.id(scenario.position), examples.map(|_| self.id(scenario.position)));
        let step = |step: &Step| {
            json!({
                "id": step_id(&place, step.position.line), "astNodeIds": [self.id(step.position)],
                "text": step.value, "argument": argument(step),
            })
        };
        let feature = &self.0.feature;
        let tags = [
            self.tags(&feature.tags, feature.position),
            rule.map(|rule| self.tags(&rule.tags, rule.position)).unwrap_or_default(),
            self.tags(&written.tags, written.position),
            examples.map(|examples| self.tags(&examples.tags, examples.position)).unwrap_or_default(),
        ];
        let tag = |tag: &Json| json!({ "name": tag.get("name"), "astNodeId": tag.get("id") });
        let message = json!({
            "id": format!("pickle {place}"), "uri": self.0.path, "location": location(scenario.position),
            "name": scenario.name, "language": self.0.language,
            "steps": scenario.steps.iter().map(step).collect::<Vec<_>>(),
            "tags": tags.iter().flatten().map(tag).collect::<Vec<_>>(),
            "astNodeIds": std::iter::once(self.id(written.position)).chain(row).collect::<Vec<_>>(),
        });
        let lines = scenario.steps.iter().map(|step| step.position.line).collect();
        Pickle { path: &self.0.path, line: scenario.position.line, tags: scenario.tags.clone(), steps: lines, message }
    }
}

/// Returns what a step has besides its text. There is one place for it: a table or a doc string.
fn argument(step: &Step) -> Option<Json> {
    let cell = |value: &String| json!({ "value": value });
    let row = |cells: &Vec<String>| json!({ "cells": cells.iter().map(cell).collect::<Vec<_>>() });
    let table = step.table.as_ref().map(|table| json!({ "rows": table.rows.iter().map(row).collect::<Vec<_>>() }));
    let text = || step.docstring.as_ref().map(|text| json!({ "docString": { "content": text } }));
    table.map(|table| json!({ "dataTable": table })).or_else(text)
}

/// Makes a location; lines and columns are counted from 1, and a column of 0 is unknown.
fn location(place: LineCol) -> Json {
    json!({ "line": place.line.max(1), "column": (place.col > 0).then_some(place.col) })
}

fn described(description: &Option<String>) -> &str {
    description.as_deref().unwrap_or_default()
}

/// Finds the location of a tag: above the element it belongs to, on the nearest line that has it.
fn tag_place(text: &str, tag: &str, below: LineCol) -> LineCol {
    let above: Vec<&str> = text.lines().take(below.line.saturating_sub(1)).collect();
    let tags = above.iter().enumerate().rev().take_while(|(_, line)| {
        let line = line.trim();
        line.is_empty() || line.starts_with(['@', '#'])
    });
    let column = |line: &str| {
        let mut starts = line.match_indices(tag).map(|(start, _)| start);
        let whole = |start: &usize| line[start + tag.len()..].chars().next().is_none_or(char::is_whitespace);
        starts.find(whole).map(|start| line[..start].chars().count() + 1)
    };
    let found = tags.into_iter().find_map(|(place, line)| Some(LineCol { line: place + 1, col: column(line)? }));
    found.unwrap_or(below)
}

#[cfg(test)]
mod tests {
    use super::super::super::example;
    use super::*;

    #[test]
    fn a_pickle_has_the_steps_of_the_backgrounds_above_it_and_all_tags() {
        let feature = example::feature();
        let pickles = Document(&feature).pickles();
        let pickle = pickles.iter().find(|pickle| pickle.tags == ["annex", "A2-5"]).unwrap();
        let texts: Vec<_> = pickle.message["steps"].as_array().unwrap().iter().map(|step| &step["text"]).collect();
        assert_eq!(texts, ["a machine", "a second machine", "it runs", "it is small"]);
        let tags: Vec<_> = pickle.message["tags"].as_array().unwrap().iter().map(|tag| &tag["name"]).collect();
        assert_eq!(tags, ["@annex", "@A2-5"]);
        let lines: Vec<&str> = feature.text.lines().collect();
        let keywords = pickle.steps.iter().map(|line| lines[line - 1].trim().split(' ').next().unwrap());
        assert_eq!(keywords.collect::<Vec<_>>(), ["Given", "Given", "When", "Then"]);
    }

    #[test]
    fn tables_texts_and_tags_have_their_places_and_a_language_and_examples_are_kept() {
        let feature = example::feature();
        let tree = Document(&feature).tree();
        let at = |tree: &Json, pointer: &str| tree.pointer(pointer).unwrap_or_else(|| panic!("{pointer}")).clone();
        for (pointer, expected) in [
            ("0/background/steps/0/keyword", json!("Given ")),
            ("1/scenario/steps/1/dataTable/rows/1/cells/1/value", json!("10")),
            ("1/scenario/steps/1/dataTable/rows/0/location/line", json!(12)),
            ("3/scenario/steps/0/docString/content", json!("as it is")),
            ("4/scenario/tags/1/name", json!("@slow")),
            ("4/scenario/tags/1/location", json!({ "line": 28, "column": 9 })),
        ] {
            assert_eq!(at(&tree, &format!("/feature/children/{pointer}")), expected, "{pointer}");
        }
        let cell = "/steps/2/argument/dataTable/rows/0/cells/0/value";
        assert_eq!(at(&Document(&feature).pickles()[0].message, cell), "what");
        let outline = "# by us\n# language: de\nFunktionalität: f\n  Szenariogrundriss: s\n    Gegeben sei <x>\n    Beispiele:\n\
                       | x |\n      | 1 |\n";
        let file = FeatureFile::parse("features/f.feature".to_owned(), outline).unwrap();
        let tree = Document(&file).tree();
        assert_eq!(at(&tree, "/feature/language"), "de");
        assert_eq!(at(&tree, "/feature/children/0/scenario/examples/0/tableHeader/cells/0/value"), "x");
        assert_eq!(at(&tree, "/feature/children/0/scenario/examples/0/tableBody/0/cells/0/value"), "1");
        assert_eq!(Document(&file).pickles().len(), 1);
    }
}
