//! The keywords of a language that features are written in.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use gherkin::StepType;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::parser::LineKind;

/// The keywords of all languages, from github.com/cucumber/gherkin.
static LANGUAGES: LazyLock<BTreeMap<String, Dialect>> = LazyLock::new(|| {
    let text = include_str!("../../../fixtures/gherkin/gherkin-languages.json");
    serde_json::from_str(text).expect("the list of languages can be read")
});

/// What has a title, which is a keyword with a colon.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Title {
    Feature,
    Rule,
    Background,
    Scenario,
    Examples,
}

#[derive(Debug, Deserialize)]
pub(super) struct Dialect {
    #[serde(rename = "name")]
    _name: IgnoredAny,
    #[serde(rename = "native")]
    _native: IgnoredAny,
    /// The keywords of each kind, such as `given`.
    #[serde(flatten)]
    keywords: BTreeMap<String, Vec<String>>,
}

impl Dialect {
    pub(super) fn of(code: &str) -> Option<&'static Dialect> {
        LANGUAGES.get(code)
    }

    pub(super) fn english() -> &'static Dialect {
        Dialect::of("en").expect("the list of languages has English")
    }

    fn keywords(&self, kind: &str) -> &[String] {
        self.keywords.get(kind).map_or(&[], Vec::as_slice)
    }

    fn titles(&self, title: Title) -> impl Iterator<Item = &String> {
        let kinds: &[&str] = match title {
            Title::Feature => &["feature"],
            Title::Rule => &["rule"],
            Title::Background => &["background"],
            Title::Scenario => &["scenario", "scenarioOutline"],
            Title::Examples => &["examples"],
        };
        kinds.iter().flat_map(|kind| self.keywords(kind))
    }

    /// Returns the most usual keyword of a title.
    pub(super) fn first(&self, title: Title) -> &str {
        // Each language lists "Example" before "Scenario".
        let keyword =
            if title == Title::Scenario { self.keywords("scenario").last() } else { self.titles(title).next() };
        keyword.map_or("", String::as_str)
    }

    /// Splits a title into keyword and name.
    pub(super) fn title<'a>(&self, title: Title, line: &'a str) -> Option<(&str, &'a str)> {
        self.titles(title).find_map(|keyword| {
            let name = line.strip_prefix(keyword.as_str())?.strip_prefix(':')?;
            Some((keyword.as_str(), name.trim()))
        })
    }

    /// Returns all keywords of steps, each with the type of its steps if it tells one.
    fn step_keywords(&self) -> impl Iterator<Item = (&str, Option<StepType>)> {
        let (given, when, then) = (Some(StepType::Given), Some(StepType::When), Some(StepType::Then));
        let kinds = [("given", given), ("when", when), ("then", then), ("and", None), ("but", None)];
        kinds.into_iter().flat_map(|(kind, ty)| self.keywords(kind).iter().map(move |keyword| (keyword.as_str(), ty)))
    }

    /// Splits a step into keyword, type and text. A keyword may be the beginning of another one: the longest counts.
    pub(super) fn step<'a>(&self, line: &'a str) -> Option<(&str, Option<StepType>, &'a str)> {
        let fitting = self.step_keywords().filter(|(keyword, _)| line.starts_with(keyword));
        // Of "*", which all lists have, the last one counts: it has no type.
        let (keyword, ty) = fitting.max_by_key(|(keyword, _)| keyword.chars().count())?;
        Some((keyword, ty, line[keyword.len()..].trim()))
    }

    /// Returns the line that was meant, if only letter case, the colon or the space after a keyword is wrong.
    pub(super) fn meant(&self, line: &str, expected: &[LineKind]) -> Option<String> {
        let rest = |keyword: &str| {
            let start = line.get(..keyword.len()).filter(|start| start.to_lowercase() == keyword.to_lowercase())?;
            let rest = line[start.len()..].trim_start();
            let ends = rest.len() < line.len() - start.len() || rest.is_empty() || rest.starts_with(':');
            ends.then(|| rest.trim_start_matches(':').trim_start())
        };
        let titles = expected.iter().filter_map(|kind| match kind {
            LineKind::Title(title) => Some(self.titles(*title)),
            _ => None,
        });
        let mut titles: Vec<&String> = titles.flatten().collect();
        titles.sort_by_key(|keyword| std::cmp::Reverse(keyword.len()));
        let title = |keyword: &&String| Some(format!("{keyword}: {}", rest(keyword)?).trim_end().to_owned());
        let step = |(keyword, _): (&str, _)| Some(format!("{keyword}{}", rest(keyword.trim_end())?));
        let steps =
            expected.contains(&LineKind::Step).then(|| self.step_keywords().filter(|(word, _)| word.trim() != "*"));
        titles.iter().find_map(title).or_else(|| steps.into_iter().flatten().find_map(step))
    }

    /// Describes what a line can be, for a sentence.
    pub(super) fn describe(&self, expected: &[LineKind]) -> String {
        let describe = |kind: &LineKind| {
            Some(match kind {
                LineKind::Title(title) => format!("{}:", self.first(*title)),
                LineKind::Step => {
                    let given = self.keywords("given").iter().find(|keyword| keyword.trim() != "*");
                    format!("a step such as {} …", given.map_or("*", |keyword| keyword.trim()))
                }
                LineKind::Tags => "a tag".to_owned(),
                LineKind::DocString => "a doc string".to_owned(),
                LineKind::Row => "a row of a table".to_owned(),
                LineKind::Language | LineKind::End | LineKind::Empty | LineKind::Comment | LineKind::Other => {
                    return None;
                }
            })
        };
        let mut names: Vec<String> = expected.iter().filter_map(describe).collect();
        let last = names.pop().unwrap_or_default();
        if names.is_empty() { last } else { format!("{} or {last}", names.join(", ")) }
    }
}
