//! Parses feature files as Cucumber's own parser does, and refuses characters that cannot be seen where they would make
//! a step or a tag something else.

mod dialect;
mod line;
mod parser;

use std::fmt;

use gherkin::Feature;

use crate::claims::expand::too_large;

#[derive(Clone, Debug)]
pub struct FeatureFile {
    /// Its path, relative to the project.
    pub path: String,
    /// Its contents. A file with nothing but comments has a feature without a keyword.
    pub feature: Feature,
    /// The code of the language it is written in.
    pub language: String,
    /// Its original text, unchanged.
    pub text: String,
}

impl FeatureFile {
    pub fn parse(path: String, text: &str) -> anyhow::Result<FeatureFile> {
        let (feature, language) = parser::parse(text.strip_prefix('\u{feff}').unwrap_or(text))?;
        if let Some(line) = too_large(&feature, text) {
            let problem =
                "with this scenario, the feature's scenarios are larger than 64 MiB: write fewer rows or steps";
            return Err(GherkinErrors(vec![GherkinError { line, character: 1, problem: problem.to_owned() }]).into());
        }
        Ok(FeatureFile { path, feature, language, text: text.to_owned() })
    }
}

/// Returns the first character of a text that cannot be seen, or looks like a space.
pub fn invisible_in(text: &str) -> Option<char> {
    text.chars().find(|c| line::invisible(*c))
}

/// Returns the first character of a text that looks like a plain space or like nothing and is not part of any script: a
/// text that was copied with it is found nowhere.
pub fn deceptive_in(text: &str) -> Option<char> {
    let space = |c: char| c.is_whitespace() && !matches!(c, ' ' | '\t' | '\n' | '\u{3000}');
    text.chars().find(|c| space(*c) || matches!(c, '\u{ad}' | '\u{200b}' | '\u{2060}' | '\u{feff}'))
}

#[derive(Clone, Debug, PartialEq)]
pub struct GherkinError {
    pub line: usize,
    /// The character in the line, counted from 1; 0 if the end of the file is meant.
    pub character: usize,
    /// What stands there, what was expected, and what to do.
    pub problem: String,
}

impl fmt::Display for GherkinError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.character {
            0 => write!(out, "line {}: {}", self.line, self.problem),
            character => write!(out, "line {}, character {character}: {}", self.line, self.problem),
        }
    }
}

#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{}", .0.iter().map(GherkinError::to_string).collect::<Vec<_>>().join("\n  "))]
pub struct GherkinErrors(pub Vec<GherkinError>);

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> FeatureFile {
        FeatureFile::parse("x.feature".to_owned(), text).unwrap_or_else(|error| panic!("{text}\n{error}"))
    }

    /// Returns the steps of the first scenario, as keyword, type and text.
    fn steps(text: &str) -> Vec<String> {
        let file = parse(text);
        let scenario = file.feature.scenarios.first().expect("a scenario");
        scenario.steps.iter().map(|step| format!("{}|{:?}|{}", step.keyword, step.ty, step.value)).collect()
    }

    #[test]
    fn what_cucumber_reads_is_read() {
        let given = ["Given |Given|x"];
        for (text, expected) in [
            ("\u{feff}Feature: f\n  Scenario: s\n    Given x\n", &given[..]),
            ("# a comment\n\n   Feature: f\n  Scenario: s\n    Given x\n", &given),
            ("Feature: f\r\n  Scenario: s\r\n    Given x\r\n", &given),
            ("Feature: f\n\tExample: s\n\t\tGiven x  \t\n", &given),
            ("Feature: f\n Scenario: s\n  # Whn y\n  Given x\n\n  # end", &given),
            ("# by us\n # language : de\nFunktionalität: f\n Szenario: s\n  Angenommen x\n", &["Angenommen |Given|x"]),
            ("#language:zh-CN\n功能: f\n 场景: s\n  假如x\n  那么y\n", &["假如|Given|x", "那么|Then|y"]),
            ("Feature: f\n Scenario: s\n  When a\n  * b\n  And c\n", &["When |When|a", "* |When|b", "And |When|c"]),
            ("Feature: f\n Background:\n  When a\n Scenario: s\n  And b\n", &["And |When|b"]),
        ] {
            assert_eq!(steps(text), expected, "{text}");
        }
        assert_eq!(parse("# by us\n# language: de\nFunktion: f\n").language, "de");
        assert!(parse("# nothing yet\n").feature.scenarios.is_empty());
    }

    #[test]
    fn tables_texts_and_tags_are_read() {
        let text = "@a @b@c #@d\nFeature: f\n  Rule: r\n    @x\n    # between\n    Scenario Template: s\n      Given t\n        \
                    | a\\|b | c\\n\\\\ | \\d |  |\n        ```json\n          {\n        }\n        \\`\\`\\`\n        ```\n\n    \
                    @y\n    Scenarios: e\n      | h |\n";
        let file = parse(text);
        let scenario = &file.feature.rules[0].scenarios[0];
        assert_eq!(file.feature.tags, ["a", "b", "c"]);
        assert_eq!(
            (&scenario.tags[..], &scenario.examples[0].tags[..]),
            (&["x".to_owned()][..], &["y".to_owned()][..])
        );
        let step = &scenario.steps[0];
        assert_eq!(step.table.as_ref().unwrap().rows, [["a|b", "c\n\\", "\\d", ""]]);
        assert_eq!(step.docstring.as_deref(), Some("  {\n}\n```"));
        assert_eq!((scenario.position.line, scenario.position.col), (6, 5));
    }

    /// Returns all errors of a text.
    fn errors(text: &str) -> String {
        FeatureFile::parse("x.feature".to_owned(), text).unwrap_err().to_string()
    }

    #[test]
    fn every_error_names_its_line_and_character_what_stands_there_and_what_to_do() {
        let scenario = |more: &str| format!("Feature: f\n  @A6-3\n  Scenario: s\n{more}");
        let texts = [
            "not gherkin\n".to_owned(),
            scenario("    Given x\n  Scenario it\n"),
            scenario("    Given x\n    then y\n"),
            scenario("    Given x\n    y\n"),
            scenario("    Given x\n      | a |\n      | b | c |\n"),
            scenario("    Given x\n      \"\"\"\n      y\n"),
            scenario("    Given x\n  @A6-3\n"),
            scenario("    Given x\n  @a b\n  Scenario: t\n"),
            "# language: xx\nFeature: f\n".to_owned(),
            "Feature: f\rScenario: s\n".to_owned(),
            // What follows a title without its colon is read as if the colon were there.
            "Feature: f\n  @a\n  Scenario s\n    Given x\n".to_owned(),
            scenario("    Given x\ny\nz\n"),
            // A character that cannot be seen is refused where it would hide a step or a tag.
            scenario("    \u{a0}When x\n"),
            scenario("\u{2003}\u{3000}When x\n"),
            scenario("    Given x\n  \u{200b}Then y\n"),
            scenario("    Then\u{202f}y\n"),
            scenario("    G\u{ad}iven y\n"),
            scenario("    Given x\n      \u{a0}| a |\n"),
            scenario("").replace("  Sc", "\u{feff}  Sc"),
            scenario("").replace("-3", "-3\u{2060}"),
            scenario("").replace("@A", "\u{a0}@A"),
            // One error is enough, because each shows all of the line.
            format!("{}\nFeature: f\n", "@a\u{2060}".repeat(12)),
        ];
        let seen = texts.map(|text| format!("{}\n  {}\n\n", text.escape_debug(), errors(&text)));
        insta::assert_snapshot!("errors", seen.concat());
    }

    #[test]
    fn a_character_that_cannot_be_seen_is_taken_where_it_hides_nothing() {
        let text = "Feature: f\n Scenario: s\n  a\u{a0}note\n  Given \"a\u{a0}b\"\n   | \u{a0}c |\n   \"\"\"\n\u{a0}d\n   \"\"\"\n";
        assert_eq!(steps(text), ["Given |Given|\"a\u{a0}b\""]);
        assert_eq!(parse("@می\u{200c}خواهم\nFeature: f\n").feature.tags, ["می\u{200c}خواهم"]);
    }
}
