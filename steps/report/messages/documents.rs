//! Converts a feature to Cucumber Messages: its text, its tree, and its scenarios as they are run.

use gherkin::{Background, Examples, LineCol, Scenario, Step, Table};
use serde_json::{Value as Json, json};

use super::Ids;
use crate::claims::plan::FeatureFile;

pub struct Document {
    /// Its path, relative to the project.
    pub path: String,
    /// Its text, as a message.
    pub source: Json,
    /// Its syntax tree, as a message.
    pub tree: Json,
    pub pickles: Vec<Pickle>,
}

/// A scenario as it is run, including the steps of the backgrounds above it.
pub struct Pickle {
    /// The id that other messages use for it.
    pub id: String,
    pub line: usize,
    /// Its own tags, without the `@`.
    pub tags: Vec<String>,
    pub steps: Vec<PickleStep>,
    /// The whole pickle, as a message.
    pub message: Json,
}

/// A step of a scenario as it is run.
pub struct PickleStep {
    pub id: String,
    pub line: usize,
}

/// A step of the tree, with what a pickle takes from it.
#[derive(Clone)]
struct Node<'a> {
    id: String,
    step: &'a Step,
}

/// The tree of a file while it is built, with the pickles found so far.
struct Growing<'a> {
    file: &'a FeatureFile,
    ids: &'a mut Ids,
    pickles: Vec<Pickle>,
}

impl Document {
    pub fn of(file: &FeatureFile, ids: &mut Ids) -> Document {
        let feature = &file.feature;
        let mut growing = Growing { file, ids, pickles: Vec::new() };
        let tags = growing.tags(&feature.tags, feature.position);
        let (mut children, above) = growing.background(feature.background.as_ref());
        for scenario in &feature.scenarios {
            children.push(json!({ "scenario": growing.scenario(scenario, &tags, &above) }));
        }
        for rule in &feature.rules {
            let own = growing.tags(&rule.tags, rule.position);
            let (mut within, more) = growing.background(rule.background.as_ref());
            let (tags, above) = ([tags.clone(), own.clone()].concat(), [above.clone(), more].concat());
            for scenario in &rule.scenarios {
                within.push(json!({ "scenario": growing.scenario(scenario, &tags, &above) }));
            }
            let id = growing.ids.next();
            children.push(json!({ "rule": {
                "id": id, "location": location(rule.position), "tags": own, "keyword": rule.keyword.trim(),
                "name": rule.name, "description": described(&rule.description), "children": within,
            } }));
        }
        let tree = json!({ "uri": file.path, "comments": [], "feature": {
            "location": location(feature.position), "tags": tags, "language": language(&file.text),
            "keyword": feature.keyword.trim(), "name": feature.name, "description": described(&feature.description),
            "children": children,
        } });
        let source = json!({ "uri": file.path, "data": file.text, "mediaType": "text/x.cucumber.gherkin+plain" });
        Document { path: file.path.clone(), source, tree, pickles: growing.pickles }
    }
}

impl<'a> Growing<'a> {
    fn tags(&mut self, names: &[String], below: LineCol) -> Vec<Json> {
        let tag = |name: &String| {
            let name = format!("@{name}");
            let place = tag_place(&self.file.text, &name, below);
            json!({ "id": self.ids.next(), "name": name, "location": location(place) })
        };
        names.iter().map(tag).collect()
    }

    fn steps(&mut self, steps: &'a [Step]) -> (Vec<Json>, Vec<Node<'a>>) {
        let nodes: Vec<Node> = steps.iter().map(|step| Node { id: self.ids.next(), step }).collect();
        let tree = |node: &Node| {
            let step = node.step;
            let mut tree = json!({
                "id": node.id, "location": location(step.position), "keyword": format!("{} ", step.keyword.trim()),
                "text": step.value,
            });
            if let Some(tree) = tree.as_object_mut() {
                let below = LineCol { line: step.position.line + 1, col: 0 };
                if let Some(text) = &step.docstring {
                    let shown = json!({ "location": location(below), "content": content(text), "delimiter": "\"\"\"" });
                    tree.insert("docString".to_owned(), shown);
                }
                if let Some(table) = &step.table {
                    let shown = json!({ "location": location(below), "rows": self.rows(table) });
                    tree.insert("dataTable".to_owned(), shown);
                }
            }
            tree
        };
        (nodes.iter().map(tree).collect(), nodes)
    }

    fn rows(&mut self, table: &Table) -> Vec<Json> {
        let row = |(place, cells): (usize, &Vec<String>)| {
            let at = location(LineCol { line: table.position.line + place, col: 0 });
            let cells: Vec<Json> = cells.iter().map(|value| json!({ "location": at, "value": value })).collect();
            json!({ "id": self.ids.next(), "location": at, "cells": cells })
        };
        table.rows.iter().enumerate().map(row).collect()
    }

    fn background(&mut self, background: Option<&'a Background>) -> (Vec<Json>, Vec<Node<'a>>) {
        let Some(background) = background else { return (Vec::new(), Vec::new()) };
        let (steps, nodes) = self.steps(&background.steps);
        let tree = json!({ "background": {
            "id": self.ids.next(), "location": location(background.position), "keyword": background.keyword.trim(),
            "name": background.name, "description": described(&background.description), "steps": steps,
        } });
        (vec![tree], nodes)
    }

    /// Returns a scenario's tree and stores its pickle. An outline becomes one pickle, as written: a claim has one
    /// scenario.
    fn scenario(&mut self, scenario: &'a Scenario, above: &[Json], background: &[Node<'a>]) -> Json {
        let tags = self.tags(&scenario.tags, scenario.position);
        let (steps, own) = self.steps(&scenario.steps);
        let examples: Vec<Json> = scenario.examples.iter().map(|examples| self.examples(examples)).collect();
        let id = self.ids.next();
        let all = [background, &own].concat();
        self.pickle(scenario, &id, &[above, &tags].concat(), &all);
        json!({
            "id": id, "location": location(scenario.position), "tags": tags, "keyword": scenario.keyword.trim(),
            "name": scenario.name, "description": described(&scenario.description), "steps": steps,
            "examples": examples,
        })
    }

    fn examples(&mut self, examples: &Examples) -> Json {
        let tags = self.tags(&examples.tags, examples.position);
        let mut rows = examples.table.as_ref().map(|table| self.rows(table)).unwrap_or_default();
        let body = rows.split_off(rows.len().min(1));
        let mut tree = json!({
            "id": self.ids.next(), "location": location(examples.position), "tags": tags,
            "keyword": examples.keyword.trim(), "name": examples.name.as_deref().unwrap_or_default(),
            "description": described(&examples.description), "tableBody": body,
        });
        if let (Some(header), Some(tree)) = (rows.pop(), tree.as_object_mut()) {
            tree.insert("tableHeader".to_owned(), header);
        }
        tree
    }

    fn pickle(&mut self, scenario: &Scenario, node: &str, tags: &[Json], nodes: &[Node]) {
        let steps: Vec<PickleStep> =
            nodes.iter().map(|node| PickleStep { id: self.ids.next(), line: node.step.position.line }).collect();
        let shown = |(step, node): (&PickleStep, &Node)| {
            let mut shown = json!({ "id": step.id, "astNodeIds": [node.id], "text": node.step.value });
            if let (Some(argument), Some(shown)) = (argument(node.step), shown.as_object_mut()) {
                shown.insert("argument".to_owned(), argument);
            }
            shown
        };
        let shown: Vec<Json> = steps.iter().zip(nodes).map(shown).collect();
        let tags: Vec<Json> =
            tags.iter().map(|tag| json!({ "name": tag.get("name"), "astNodeId": tag.get("id") })).collect();
        let id = self.ids.next();
        let message = json!({
            "id": id, "uri": self.file.path, "location": location(scenario.position), "name": scenario.name,
            "language": language(&self.file.text), "steps": shown, "tags": tags, "astNodeIds": [node],
        });
        let line = scenario.position.line;
        self.pickles.push(Pickle { id, line, tags: scenario.tags.clone(), steps, message });
    }
}

/// Returns what a step has besides its text. There is one place for it: a table or a doc string.
fn argument(step: &Step) -> Option<Json> {
    let cell = |value: &String| json!({ "value": value });
    let row = |cells: &Vec<String>| json!({ "cells": cells.iter().map(cell).collect::<Vec<_>>() });
    let table = step.table.as_ref().map(|table| json!({ "rows": table.rows.iter().map(row).collect::<Vec<_>>() }));
    let text = || step.docstring.as_ref().map(|text| json!({ "docString": { "content": content(text) } }));
    table.map(|table| json!({ "dataTable": table })).or_else(text)
}

/// Returns a doc string as it was written between its quotes; the parser leaves the line breaks next to them.
fn content(text: &str) -> &str {
    let text = text.strip_prefix('\n').unwrap_or(text);
    text.strip_suffix('\n').unwrap_or(text)
}

/// Makes a location; lines and columns are counted from 1, and a column of 0 is unknown.
fn location(place: LineCol) -> Json {
    match place.col {
        0 => json!({ "line": place.line.max(1) }),
        column => json!({ "line": place.line.max(1), "column": column }),
    }
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
        let starts = line.match_indices(tag).map(|(start, _)| start);
        let whole = |start: &usize| line[start + tag.len()..].chars().next().is_none_or(char::is_whitespace);
        starts.into_iter().find(whole).map(|start| line[..start].chars().count() + 1)
    };
    let found = tags.into_iter().find_map(|(place, line)| Some(LineCol { line: place + 1, col: column(line)? }));
    found.unwrap_or(below)
}

/// Returns the language that a feature is written in; its first line may state it.
fn language(text: &str) -> &str {
    let first = text.lines().next().and_then(|line| line.trim().strip_prefix('#'));
    first.and_then(|line| line.trim().strip_prefix("language:")).map_or("en", str::trim)
}

#[cfg(test)]
mod tests {
    use super::super::super::example;
    use super::*;

    #[test]
    fn a_pickle_has_the_steps_of_the_backgrounds_above_it_and_all_tags() {
        let document = Document::of(&example::feature(), &mut Ids(0));
        let pickle = document.pickles.iter().find(|pickle| pickle.tags == ["A2-5"]).unwrap();
        let texts: Vec<_> = pickle.message["steps"].as_array().unwrap().iter().map(|step| &step["text"]).collect();
        assert_eq!(texts, ["a machine", "a second machine", "it runs", "it is small"]);
        let tags: Vec<_> = pickle.message["tags"].as_array().unwrap().iter().map(|tag| &tag["name"]).collect();
        assert_eq!(tags, ["@annex", "@A2-5"]);
        let lines: Vec<&str> = document.source["data"].as_str().unwrap().lines().collect();
        for step in &pickle.steps {
            assert!(lines[step.line - 1].trim().starts_with(['G', 'W', 'T']), "{}", step.line);
        }
    }

    #[test]
    fn tables_texts_and_tags_are_in_the_tree_with_their_places() {
        let document = Document::of(&example::feature(), &mut Ids(0));
        let children = document.tree["feature"]["children"].as_array().unwrap();
        assert_eq!(children[0]["background"]["steps"][0]["keyword"], "Given ");
        let holds = &children[1]["scenario"];
        assert_eq!(holds["steps"][1]["dataTable"]["rows"][1]["cells"][1]["value"], "10");
        assert_eq!(holds["steps"][1]["dataTable"]["rows"][0]["location"]["line"], 12);
        assert_eq!(children[3]["scenario"]["steps"][0]["docString"]["content"], "as it is");
        let slow = &children[4]["scenario"]["tags"][1];
        assert_eq!((&slow["name"], &slow["location"]), (&json!("@slow"), &json!({ "line": 28, "column": 9 })));
        assert_eq!(
            document.pickles[0].message["steps"][2]["argument"]["dataTable"]["rows"][0]["cells"][0]["value"],
            "what"
        );
    }

    #[test]
    fn an_outline_keeps_its_examples_and_a_language_is_told() {
        let text = "# language: de\nFunktionalität: f\n  Szenariogrundriss: s\n    Gegeben sei <x>\n    Beispiele:\n\
                  | x |\n      | 1 |\n";
        let file = FeatureFile::parse("features/f.feature".to_owned(), text).unwrap();
        let document = Document::of(&file, &mut Ids(0));
        assert_eq!(document.tree["feature"]["language"], "de");
        let examples = &document.tree["feature"]["children"][0]["scenario"]["examples"][0];
        assert_eq!(examples["tableHeader"]["cells"][0]["value"], "x");
        assert_eq!(examples["tableBody"][0]["cells"][0]["value"], "1");
        assert_eq!(document.pickles.len(), 1);
    }
}
