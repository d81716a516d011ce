//! Expands a feature to its scenarios as they run: a row of an outline is a scenario of its own, and tags and backgrounds
//! above a scenario are part of it. Everything that plans, runs, shows or verifies scenarios takes them from here.

use std::collections::BTreeSet;

use gherkin::{Background, Examples, Feature, Rule, Scenario, Step, StepType, Table};

/// The beginning of the step that ends every control. Without it, the check could fail for a wrong reason unnoticed.
pub const REFUSAL: &str = "this check fails on ";

/// How much of a value is shown in a scenario's name, in characters.
const VALUE: usize = 40;

/// The most text, in bytes, that the scenarios of a feature may have when they are expanded.
const LARGEST: usize = 64 << 20;

/// What a text takes besides its own bytes.
const SMALLEST: usize = 128;

/// A scenario as it runs, and what it was made of.
#[derive(Clone, Debug)]
pub struct ExpandedScenario<'a> {
    /// Has all tags that count, the steps of the backgrounds first, and the values of its row. It stands on the line of
    /// its row, or of its own.
    pub scenario: Scenario,
    pub written: &'a Scenario,
    pub rule: Option<&'a Rule>,
    /// The table with its row, if it is one of an outline.
    pub examples: Option<&'a Examples>,
    /// What is wrong with its row, and what to do.
    pub mistake: Option<String>,
}

/// Returns all scenarios of a feature with this text, in their order.
pub fn expand<'a>(feature: &'a Feature, text: &str) -> Vec<ExpandedScenario<'a>> {
    within(feature, text, usize::MAX).unwrap_or_default()
}

/// Returns the line of the first scenario with which a feature becomes too large to be expanded: a page of text can make
/// gigabytes.
pub fn too_large(feature: &Feature, text: &str) -> Option<usize> {
    within(feature, text, LARGEST).err()
}

/// Expands a feature to so many bytes at most; an error is the line of the scenario that has more.
fn within<'a>(feature: &'a Feature, text: &str, mut left: usize) -> Result<Vec<ExpandedScenario<'a>>, usize> {
    let piped = piped_lines(text);
    let own = feature.scenarios.iter().map(|scenario| (None, scenario));
    let of_rules = feature.rules.iter().flat_map(|rule| rule.scenarios.iter().map(move |each| (Some(rule), each)));
    let mut all = Vec::new();
    for (rule, written) in own.chain(of_rules) {
        let rows = written.examples.iter().flat_map(|examples| {
            let rows = examples.table.iter().flat_map(|table| rows(table, &piped));
            rows.map(move |row| Some((examples, row)))
        });
        for row in rows.chain(written.examples.is_empty().then_some(None)) {
            all.push(expanded(feature, rule, written, row, &mut left).ok_or(written.position.line)?);
        }
    }
    Ok(all)
}

/// Returns the texts of a step.
fn texts(step: &Step) -> impl Iterator<Item = &String> {
    let cells = step.table.iter().flat_map(|table| table.rows.iter().flatten());
    [&step.value].into_iter().chain(&step.docstring).chain(cells)
}

/// Returns the lines of a text that may be rows of a table. The parser does not keep them.
pub fn piped_lines(text: &str) -> Vec<usize> {
    text.lines().zip(1..).filter(|(line, _)| line.trim_start().starts_with('|')).map(|(_, number)| number).collect()
}

/// Returns the line of each row of a table, given the [`piped_lines`] of its text: comments may stand between rows.
pub fn row_lines<'a>(table: &Table, piped: &'a [usize]) -> &'a [usize] {
    let rows = &piped[piped.partition_point(|line| *line < table.position.line)..];
    &rows[..rows.len().min(table.rows.len())]
}

/// A row of a table: its line, the table's columns, and the row's cells.
type Row<'a> = (usize, &'a [String], &'a [String]);

fn rows<'a>(table: &'a Table, piped: &[usize]) -> Vec<Row<'a>> {
    let Some((columns, rows)) = table.rows.split_first() else { return Vec::new() };
    let lines = row_lines(table, piped).iter().skip(1);
    lines.zip(rows).map(|(line, row)| (*line, columns.as_slice(), row.as_slice())).collect()
}

fn expanded<'a>(
    feature: &'a Feature,
    rule: Option<&'a Rule>,
    written: &'a Scenario,
    row: Option<(&'a Examples, Row)>,
    left: &mut usize,
) -> Option<ExpandedScenario<'a>> {
    let above = [feature.background.as_ref(), rule.and_then(|rule| rule.background.as_ref())];
    let steps = above.into_iter().flatten().flat_map(|Background { steps, .. }| steps).chain(&written.steps);
    let of_rule = rule.into_iter().flat_map(|rule| &rule.tags);
    let of_row = row.iter().flat_map(|(examples, _)| &examples.tags);
    let tags = feature.tags.iter().chain(of_rule).chain(&written.tags).chain(of_row);
    let copied = steps.clone().flat_map(texts).chain(tags.clone()).chain(&written.description).chain([&written.name]);
    copied.for_each(|text| *left = left.saturating_sub(text.len() + SMALLEST));
    if *left == 0 {
        return None;
    }
    // Not a clone of what is written, which has all the rows.
    let mut scenario = Scenario {
        keyword: written.keyword.clone(),
        name: written.name.clone(),
        description: written.description.clone(),
        steps: steps.cloned().collect(),
        examples: Vec::new(),
        tags: Vec::new(),
        span: written.span,
        position: written.position,
    };
    let mut seen = BTreeSet::new();
    scenario.tags.extend(tags.filter(|tag| seen.insert(tag.as_str())).cloned());
    let mistake = row.and_then(|(_, (_, columns, _))| wrong(written, columns));
    if let Some((_, (line, columns, cells))) = row {
        let mut fill = |text: &mut String| *text = filled(text, columns, cells, left);
        let own = written.steps.len();
        let background = scenario.steps.len() - own;
        for step in scenario.steps.iter_mut().skip(background) {
            fill(&mut step.value);
            step.docstring.iter_mut().for_each(&mut fill);
            step.table.iter_mut().flat_map(|table| &mut table.rows).flatten().for_each(&mut fill);
        }
        fill(&mut scenario.name);
        if scenario.name == written.name {
            let values: Vec<String> = cells.iter().map(|cell| cell.chars().take(VALUE).collect()).collect();
            scenario.name = format!("{} ({})", written.name, values.join(", "));
        }
        // A name is a line of its own, whatever its cells hold.
        scenario.name = scenario.name.replace('\n', " ");
        scenario.position.line = line;
        // A control that shares its outline with other rows names its probe in a column: the others do not fail.
        let probe = columns.iter().zip(cells).find(|(column, _)| *column == REFUSAL.trim());
        if let (Some((_, probe)), Some(last)) = (probe, scenario.steps.last().cloned()) {
            let value = format!("{REFUSAL}\"{probe}\"");
            let mut refusal =
                Step { keyword: "But ".to_owned(), ty: StepType::Then, value, docstring: None, table: None, ..last };
            refusal.position.line = line;
            scenario.steps.push(refusal);
        }
    }
    let examples = row.map(|(examples, _)| examples);
    (*left > 0).then_some(ExpandedScenario { scenario, written, rule, examples, mistake })
}

/// Replaces each `<column>` by the row's value, as far as the bytes that are `left` go.
fn filled(text: &str, columns: &[String], cells: &[String], left: &mut usize) -> String {
    let mut parts = text.split('<');
    let mut filled = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let value = part.split_once('>').and_then(|(name, rest)| {
            let place = columns.iter().position(|column| column == name)?;
            Some((cells.get(place)?, rest))
        });
        match value {
            Some((value, rest)) => filled.extend([value, rest]),
            None => filled.extend(["<", part]),
        }
        *left = left.saturating_sub(value.map_or(0, |(value, _)| value.len()));
        if *left == 0 {
            break;
        }
    }
    filled
}

/// Finds a placeholder that would be left as it is.
fn wrong(written: &Scenario, columns: &[String]) -> Option<String> {
    let cells = |step: &'_ Step| step.table.iter().flat_map(|table| table.rows.concat()).collect::<Vec<_>>();
    let steps = written.steps.iter().flat_map(|step| [vec![step.value.clone()], cells(step)].concat());
    std::iter::once(written.name.clone()).chain(steps).find_map(|text| {
        let mut names = text.split('<').skip(1).filter_map(|part| Some(part.split_once('>')?.0));
        let unknown = names.find(|name| !name.is_empty() && name.trim() == *name && !columns.iter().any(|c| c == name));
        unknown.map(|name| {
            let columns = columns.join(", ");
            format!(
                "<{name}> is not a column of the row's table, which has {columns}: add it, or write <{name}> in a cell"
            )
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claims::feature_file::FeatureFile;

    const FEATURE: &str = "@A6-3 @shared\nFeature: f\n  Background:\n    Given above <x>\n\n  Scenario: plain\n    Then a <b> c\n\
        \n  @own\n  Scenario Outline: it says <text>\n    Then its log says \"<text>\" <n> times\n      | <n> | < |\n\
        \n    Examples:\n      | text | n |\n      | <n>  | 1 |\n      # another\n      | b c | 2 |\n\
        \n    @control\n    Examples: more\n      | n | text | this check fails on |\n      | 3 | d | log.text |\n\
        \n  @A6-3 @rule\n  Rule: r\n    Background:\n      Given of the rule\n    Example: in it\n      Then x\n\
        \x20   Scenario Outline: same\n      Then <v>\n    Examples:\n      | v |\n      | 1 |\n      | 2 |\n";

    fn shown(text: &str) -> Vec<String> {
        let feature = FeatureFile::parse(String::new(), text).unwrap().feature;
        let shown = |ExpandedScenario { scenario, mistake, .. }: &ExpandedScenario| {
            let Scenario { name, tags, position, .. } = scenario;
            let steps = scenario.steps.iter().map(|step| {
                let table = step.table.iter().flat_map(|table| table.rows.concat());
                [vec![step.value.clone()], table.collect()].concat().join("|")
            });
            let steps = steps.collect::<Vec<_>>().join(" / ");
            let mistake = mistake.as_ref().map(|mistake| format!("! {mistake}")).unwrap_or_default();
            format!("{}: {name} @{}: {steps}{mistake}", position.line, tags.join(" @"))
        };
        expand(&feature, text).iter().map(shown).collect()
    }

    #[test]
    fn each_row_is_a_scenario_with_its_values_tags_line_and_all_steps_above() {
        let expected = [
            "6: plain @A6-3 @shared: above <x> / a <b> c",
            "16: it says <n> @A6-3 @shared @own: above <x> / its log says \"<n>\" 1 times|1|<",
            "18: it says b c @A6-3 @shared @own: above <x> / its log says \"b c\" 2 times|2|<",
            "23: it says d @A6-3 @shared @own @control: above <x> / its log says \"d\" 3 times|3|< / this check fails on \"log.text\"",
            "29: in it @A6-3 @shared @rule: above <x> / of the rule / x",
            "35: same (1) @A6-3 @shared @rule: above <x> / of the rule / 1",
            "36: same (2) @A6-3 @shared @rule: above <x> / of the rule / 2",
        ];
        assert_eq!(shown(FEATURE), expected);
    }

    #[test]
    fn a_feature_that_would_become_gigabytes_is_refused_at_its_outline() {
        let outline = |step: &str, steps: usize, cell: &str, rows: usize| {
            let (steps, rows) = (format!("    * {step}\n").repeat(steps), format!("      | {cell} |\n").repeat(rows));
            format!("@t\nFeature: f\n  Scenario: s\n    * x\n  Scenario: o\n{steps}    Examples:\n      | a |\n{rows}")
        };
        let tags = format!("{}\nFeature: f\n{}", "@t".repeat(5_000), "  Scenario: s\n    * x\n".repeat(5_000));
        for (text, expected) in [
            (outline("<a>", 100, "value", 500), None),
            (outline("<a>", 1, "1", 15_000), None),
            (outline("<a>", 2_000, "1", 2_000), Some("line 5, character 1: with this scenario")),
            (outline(&"<a>".repeat(5_000), 1, &"x".repeat(5_000), 5), Some("line 5, ")),
            (tags, Some("line ")),
        ] {
            let file = FeatureFile::parse(String::new(), &text);
            // Quadratic, if each row copied all the others.
            let _ = file.as_ref().map(|file| file.scenarios().len());
            let error = file.err().map(|error| error.to_string());
            assert!(
                error.as_deref().map_or(expected.is_none(), |seen| seen.starts_with(expected.unwrap_or("?"))),
                "{error:?}"
            );
        }
    }

    #[test]
    fn a_placeholder_without_a_column_is_found() {
        let outline = |step: &str, table: &str| {
            shown(&format!("Feature: f\n  Scenario Outline: s\n    Then {step}\n    Examples:\n{table}")).concat()
        };
        let unknown = outline("\"<texr>\"", "      | text |\n      | a |\n");
        assert!(unknown.ends_with(
            "! <texr> is not a column of the row's table, which has text: add it, or write <texr> in a cell"
        ));
        assert_eq!(outline("1 < 2 > 0 <>", "      | a |\n      | 1 |\n"), "6: s (1) @: 1 < 2 > 0 <>");
        assert_eq!(outline("x", "      | a |\n      | 1\\n2 |\n"), "6: s (1 2) @: x", "a name is one line");
    }
}
