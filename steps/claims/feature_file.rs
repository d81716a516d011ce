//! Parses feature files as Cucumber's own parser does, and refuses characters that cannot be seen where they would make
//! a step or a tag something else.

mod dialect;
mod line;
mod parser;

use std::fmt;

use gherkin::Feature;

use crate::claims::expand::too_large;

/// A parsed feature file.
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
        if let Some(line) = too_large(&feature) {
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

/// What is wrong in a feature file, and where.
#[derive(Clone, Debug, PartialEq)]
pub struct GherkinError {
    /// The line, counted from 1.
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

/// All errors of a feature file.
#[derive(Clone, Debug, PartialEq)]
pub struct GherkinErrors(pub Vec<GherkinError>);

impl fmt::Display for GherkinErrors {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let errors: Vec<String> = self.0.iter().map(GherkinError::to_string).collect();
        out.write_str(&errors.join("\n  "))
    }
}

impl std::error::Error for GherkinErrors {}

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

    #[test]
    fn every_error_names_its_line_and_character_what_stands_there_and_what_to_do() {
        let scenario = |more: &str| format!("Feature: f\n  Scenario: s\n{more}");
        for (text, expected) in [
            (
                "not gherkin\n".to_owned(),
                "line 1, character 1: \"not gherkin\" is not Gherkin: write a tag or Feature:, or #",
            ),
            (
                scenario("    Given x\n  Scenario it\n"),
                "line 4, character 3: \"Scenario it\" is not Gherkin: did you mean \"Scenario: it\"?",
            ),
            (
                scenario("    Given x\n    then y\n"),
                "line 4, character 5: \"then y\" is not Gherkin: did you mean \"Then y\"?",
            ),
            (
                scenario("    Given x\n    y\n"),
                "line 4, character 5: \"y\" is not Gherkin: write a row of a table, a doc string, a step such as Given …, ",
            ),
            (
                scenario("    Given x\n      | a |\n      | b | c |\n"),
                "line 5, character 7: this row of a table has 2 cells, but its first row has 1",
            ),
            (
                scenario("    Given x\n      \"\"\"\n      y\n"),
                "line 6: the file ends inside the doc string that begins on line 4: close it with a line \"\"\"",
            ),
            (
                scenario("    Given x\n  @A6-3\n"),
                "line 5: the file ends after tags: write Scenario: below, or remove them",
            ),
            (
                scenario("    Given x\n  @a b\n  Scenario: t\n"),
                "line 4, character 3: the tag \"@a b\" contains a space",
            ),
            ("# language: xx\nFeature: f\n".to_owned(), "line 1, character 1: Cucumber has no language \"xx\""),
            ("Feature: f\rScenario: s\n".to_owned(), "line 1, character 11: there is U+000D"),
        ] {
            let error = FeatureFile::parse("x.feature".to_owned(), &text).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{text}\n{error}\n{expected}");
        }
        // What follows a title without its colon is read as if the colon were there.
        let one = FeatureFile::parse(String::new(), "Feature: f\n  @a\n  Scenario s\n    Given x\n").unwrap_err();
        assert_eq!(
            one.to_string(),
            "line 3, character 3: \"Scenario s\" is not Gherkin: did you mean \"Scenario: s\"?"
        );
        let both = FeatureFile::parse(String::new(), &format!("x\n{}y\n", scenario("    Given x\n"))).unwrap_err();
        assert_eq!(both.to_string().lines().count(), 2, "{both}");
    }

    #[test]
    fn a_character_that_cannot_be_seen_is_refused_where_it_would_hide_a_step_or_a_tag() {
        let scenario = |more: &str| format!("Feature: f\n  @A6-3\n  Scenario: s\n{more}");
        for (text, place) in [
            (scenario("    \u{a0}When x\n"), "line 4, character 5: there is an invisible character, U+00A0: "),
            (scenario("\u{2003}\u{3000}When x\n"), "line 4, character 1: there is an invisible character, U+2003: "),
            (
                scenario("    Given x\n  \u{200b}Then y\n"),
                "line 5, character 3: there is an invisible character, U+200B: ",
            ),
            (scenario("    Then\u{202f}y\n"), "line 4, character 9: there is an invisible character, U+202F: "),
            (scenario("    G\u{ad}iven y\n"), "line 4, character 6: there is an invisible character, U+00AD: "),
            (
                scenario("    Given x\n      \u{a0}| a |\n"),
                "line 5, character 7: there is an invisible character, U+00A0: ",
            ),
            (
                scenario("").replace("  Sc", "\u{feff}  Sc"),
                "line 3, character 1: there is an invisible character, U+FEFF: ",
            ),
            (
                scenario("").replace("-3", "-3\u{2060}"),
                "line 2, character 8: there is an invisible character, U+2060: ",
            ),
            (scenario("").replace("@A", "\u{a0}@A"), "line 2, character 3: there is an invisible character, U+00A0: "),
        ] {
            let error = FeatureFile::parse("x.feature".to_owned(), &text).unwrap_err().to_string();
            assert!(error.starts_with(place), "{text}\n{error}\n{place}");
        }
        let harmless = scenario(
            "    a\u{a0}note\n    Given \"a\u{a0}b\"\n      | \u{a0}c |\n      \"\"\"\n\u{a0}d\n      \"\"\"\n",
        );
        assert_eq!(steps(&harmless), ["Given |Given|\"a\u{a0}b\""]);
        let many = format!("{}\nFeature: f\n", "@a\u{2060}".repeat(2_000));
        let GherkinErrors(once) = FeatureFile::parse(String::new(), &many).unwrap_err().downcast().unwrap();
        assert_eq!(once.len(), 1, "each error would show all of the line");
        assert_eq!(parse("@می\u{200c}خواهم\nFeature: f\n").feature.tags, ["می\u{200c}خواهم"]);
    }
}
