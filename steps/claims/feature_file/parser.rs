//! Cucumber's grammar, line by line, as `gherkin.berp` of github.com/cucumber/gherkin has it.

use gherkin::{Background, Examples, Feature, LineCol, Rule, Scenario, Step, StepType, Table};

use super::dialect::{Dialect, Title};
use super::line;
use super::{GherkinError, GherkinErrors};

/// How many errors are reported of one file, which is what Cucumber's parser reports.
const ERRORS: usize = 10;

/// What a line can be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum LineKind {
    End,
    Empty,
    Comment,
    Language,
    Tags,
    Title(Title),
    Step,
    DocString,
    Row,
    /// Description, or the content of a doc string.
    Other,
}

/// What stands above a line.
#[derive(Clone, Copy, Debug)]
enum Place {
    Start,
    Language,
    /// Tags of the element that follows.
    Tags(Title),
    /// The title of an element, or its description.
    Title(Title),
    Step {
        table: Argument,
        text: bool,
    },
    DocString {
        delimiter: &'static str,
        indentation: usize,
        opened: usize,
        table: Argument,
    },
    ExamplesTable,
}

/// How much of a step's table there is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Argument {
    Missing,
    Open,
    Complete,
}

struct Parser<'a> {
    lines: Vec<&'a str>,
    language: String,
    dialect: &'static Dialect,
    place: Place,
    /// Whether steps belong to a background.
    background: bool,
    feature: Feature,
    tags: Vec<String>,
    description: Vec<&'a str>,
    content: Vec<String>,
    step_type: StepType,
    /// Whether an error of the table has been reported.
    ragged: bool,
    errors: Vec<GherkinError>,
}

/// Parses a text without a byte order mark. Returns the feature and its language.
pub(super) fn parse(text: &str) -> Result<(Feature, String), GherkinErrors> {
    let mut parser = Parser {
        lines: text.lines().collect(),
        language: "en".to_owned(),
        dialect: Dialect::english(),
        place: Place::Start,
        background: false,
        feature: Feature::builder().keyword(String::new()).name(String::new()).build(),
        tags: Vec::new(),
        description: Vec::new(),
        content: Vec::new(),
        step_type: StepType::Given,
        ragged: false,
        errors: Vec::new(),
    };
    for index in 0..parser.lines.len() {
        if parser.errors.len() < ERRORS {
            parser.line(index);
        }
    }
    if parser.errors.len() < ERRORS {
        parser.end();
    }
    match parser.errors.is_empty() {
        true => Ok((parser.feature, parser.language)),
        false => Err(GherkinErrors(parser.errors)),
    }
}

impl<'a> Parser<'a> {
    /// Returns what the next line can be. Each kind is tried in this order.
    fn expected(&self) -> Vec<LineKind> {
        use LineKind::{Comment, DocString, Empty, End, Language, Other, Row, Step, Tags};
        let (feature, background) = (LineKind::Title(Title::Feature), LineKind::Title(Title::Background));
        let (scenario, rule) = (LineKind::Title(Title::Scenario), LineKind::Title(Title::Rule));
        let examples = LineKind::Title(Title::Examples);
        let mut kinds = match self.place {
            Place::Start => vec![End, Language, Tags, feature, Comment, Empty],
            Place::Language => vec![Tags, feature, Comment, Empty],
            Place::Tags(owner) => vec![Tags, LineKind::Title(owner), Comment, Empty],
            Place::Title(Title::Feature | Title::Rule) => vec![End, Comment, background, Tags, scenario, rule, Other],
            Place::Title(Title::Background | Title::Scenario) => {
                vec![End, Comment, Step, Tags, examples, scenario, rule, Other]
            }
            Place::Title(Title::Examples) => vec![End, Comment, Row, Tags, examples, scenario, rule, Other],
            Place::Step { .. } => vec![End, Row, DocString, Step, Tags, examples, scenario, rule, Comment, Empty],
            Place::ExamplesTable => vec![End, Row, Tags, examples, scenario, rule, Comment, Empty],
            Place::DocString { .. } => vec![DocString, Other],
        };
        if let Place::Step { table, text } = self.place {
            kinds.retain(|kind| (*kind != Row || table != Argument::Complete) && (*kind != DocString || !text));
        }
        if let Place::Title(Title::Background) | Place::Step { .. } = self.place {
            kinds.retain(|kind| !self.background || *kind != examples);
        }
        kinds
    }

    /// Returns whether a line, without its indentation, is of this kind.
    fn is(&self, kind: LineKind, line: &str) -> bool {
        match (kind, self.place) {
            (LineKind::End, _) => false,
            (LineKind::Empty, _) => line.trim().is_empty(),
            (LineKind::Comment, _) => line.starts_with('#'),
            (LineKind::Language, _) => line::language(line).is_some(),
            (LineKind::Tags, _) => line.starts_with('@'),
            (LineKind::Title(title), _) => self.dialect.title(title, line).is_some(),
            (LineKind::Step, _) => self.dialect.step(line).is_some(),
            (LineKind::DocString, Place::DocString { delimiter, .. }) => line.starts_with(delimiter),
            (LineKind::DocString, _) => line::delimiter(line).is_some(),
            (LineKind::Row, _) => line.starts_with('|'),
            (LineKind::Other, _) => true,
        }
    }

    fn line(&mut self, index: usize) {
        let raw = self.lines[index];
        let line = raw.trim_start_matches([' ', '\t']);
        let expected = self.expected();
        let kind = expected.iter().copied().find(|kind| self.is(*kind, line));
        if let Some(place) = raw.chars().position(|c| c == '\r') {
            let what = "U+000D, which ends no line by itself: save the file with line feeds";
            return self.wrong(index, place + 1, format!("there is {what}"));
        }
        if matches!(kind, None | Some(LineKind::Other))
            && let Some(place) = raw.chars().position(line::invisible)
        {
            let visible = line::without_invisible(raw);
            let meant = expected.iter().copied().find(|kind| self.is(*kind, visible.trim_start()));
            if meant.is_some_and(|meant| meant != LineKind::Other) {
                return self.invisible(index, place, &visible);
            }
        }
        let position = LineCol { line: index + 1, col: indentation(raw) + 1 };
        if let Some(kind) = kind {
            return self.take(kind, line, position);
        }
        let line = line.trim_end();
        let problem = match self.dialect.meant(line, &expected) {
            Some(meant) => {
                // What follows is read as if it were right.
                let kind = expected.iter().copied().find(|kind| self.is(*kind, &meant));
                kind.into_iter().for_each(|kind| self.take(kind, &meant, position));
                format!("did you mean \"{meant}\"?")
            }
            None => format!("write {}, or # before it to make it a comment", self.dialect.describe(&expected)),
        };
        self.wrong(index, position.col, format!("\"{line}\" is not Gherkin: {problem}"));
    }

    /// Takes a line, without its indentation, for what it is.
    fn take(&mut self, kind: LineKind, line: &str, position: LineCol) {
        if !matches!(kind, LineKind::Other | LineKind::Comment | LineKind::Empty) {
            self.end_description();
        }
        let index = position.line - 1;
        match kind {
            LineKind::End | LineKind::Empty | LineKind::Comment => {}
            LineKind::Language => self.language(index, line),
            LineKind::Tags => self.tags(index, line),
            LineKind::Title(title) => self.title(title, line, position),
            LineKind::Step => self.step(line, position),
            LineKind::DocString => self.delimiter(index, line),
            LineKind::Row => self.row(line, position),
            LineKind::Other => self.other(self.lines[index]),
        }
    }

    fn end(&mut self) {
        self.end_description();
        let title = |title: Title| self.dialect.first(title);
        let problem = match self.place {
            Place::Language => format!("the file ends after its language: write {}: below", title(Title::Feature)),
            Place::Tags(owner) => format!("the file ends after tags: write {}: below, or remove them", title(owner)),
            Place::DocString { delimiter, opened, .. } => format!(
                "the file ends inside the doc string that begins on line {opened}: close it with a line {delimiter}"
            ),
            _ => return,
        };
        self.wrong(self.lines.len(), 0, problem);
    }

    /// Adds an error; a character of 0 means the line as a whole.
    fn wrong(&mut self, index: usize, character: usize, problem: String) {
        self.errors.push(GherkinError { line: index + 1, character, problem });
    }

    fn invisible(&mut self, index: usize, place: usize, visible: &str) {
        let odd = self.lines[index].chars().nth(place).map_or(0, u32::from);
        let problem = format!(
            "there is an invisible character, U+{odd:04X}: replace it with a space, or remove it, so that this line reads \
             \"{}\"",
            visible.trim()
        );
        self.wrong(index, place + 1, problem);
    }

    fn language(&mut self, index: usize, line: &str) {
        self.place = Place::Language;
        let Some(code) = line::language(line) else { return };
        match Dialect::of(code) {
            Some(dialect) => (self.language, self.dialect) = (code.to_owned(), dialect),
            None => {
                let place = indentation(self.lines[index]) + 1;
                let problem =
                    format!("Cucumber has no language \"{code}\": write its code, such as de, or remove the line");
                self.wrong(index, place, problem);
            }
        }
    }

    fn tags(&mut self, index: usize, line: &str) {
        let owner = match self.place {
            Place::Start | Place::Language => Title::Feature,
            Place::Tags(owner) => owner,
            _ => self.owner_of_tags(index),
        };
        self.place = Place::Tags(owner);
        let mut shown = false;
        for (place, tag) in line::tags(line) {
            let place = indentation(self.lines[index]) + place;
            let hidden = tag.chars().position(line::invisible);
            match tag.chars().position(char::is_whitespace) {
                _ if tag.is_empty() => self.wrong(index, place, "a tag has no name: remove the @".to_owned()),
                Some(_) => {
                    let problem = format!("the tag \"@{tag}\" contains a space: write @ before each tag");
                    self.wrong(index, place, problem);
                }
                // Some scripts, and emoji, join letters with invisible characters.
                None if let Some(hidden) = hidden
                    && line::without_invisible(tag).is_ascii() =>
                {
                    // The error shows the whole line: one is enough.
                    if !std::mem::replace(&mut shown, true) {
                        self.invisible(index, place + hidden, &line::without_invisible(line));
                    }
                }
                None => self.tags.push(tag.to_owned()),
            }
        }
    }

    /// Looks ahead for what tags belong to: only what follows them shows it.
    fn owner_of_tags(&self, index: usize) -> Title {
        let expected = self.expected();
        let seen = self.lines[index + 1..].iter().map(|line| line::without_invisible(line).trim().to_owned());
        let next = seen.into_iter().find(|line| !(line.is_empty() || line.starts_with(['#', '@']))).unwrap_or_default();
        let is =
            |title: &Title| expected.contains(&LineKind::Title(*title)) && self.dialect.title(*title, &next).is_some();
        [Title::Examples, Title::Scenario, Title::Rule].into_iter().find(is).unwrap_or(Title::Scenario)
    }

    fn title(&mut self, title: Title, line: &str, position: LineCol) {
        let Some((keyword, name)) = self.dialect.title(title, line) else { return };
        let (keyword, name) = (keyword.to_owned(), name.to_owned());
        let tags = std::mem::take(&mut self.tags);
        self.place = Place::Title(title);
        if let Title::Background | Title::Scenario = title {
            (self.background, self.step_type) = (title == Title::Background, self.inherited_type());
        }
        match title {
            Title::Feature => {
                self.feature = Feature::builder().keyword(keyword).name(name).tags(tags).position(position).build();
            }
            Title::Rule => {
                let rule = Rule::builder().keyword(keyword).name(name).scenarios(Vec::new()).tags(tags);
                self.feature.rules.push(rule.position(position).build());
            }
            Title::Background => {
                let background = Background::builder().keyword(keyword).name(name).steps(Vec::new());
                *self.current_background() = Some(background.position(position).build());
            }
            Title::Scenario => {
                let scenario = Scenario::builder().keyword(keyword).name(name).steps(Vec::new()).tags(tags);
                self.scenarios().push(scenario.position(position).build());
            }
            Title::Examples => {
                let name = Some(name).filter(|name| !name.is_empty());
                let examples = Examples::builder().keyword(keyword).name(name).table(None).tags(tags);
                if let Some(scenario) = self.scenarios().last_mut() {
                    scenario.examples.push(examples.position(position).build());
                }
            }
        }
    }

    fn step(&mut self, line: &str, position: LineCol) {
        let Some((keyword, ty, text)) = self.dialect.step(line) else { return };
        // "And", "But" and "*" go on with what the step before them is.
        self.step_type = ty.unwrap_or(self.step_type);
        let step = Step::builder().keyword(keyword.to_owned()).ty(self.step_type).value(text.to_owned());
        let step = step.position(position).build();
        if let Some(steps) = self.steps() {
            steps.push(step);
        }
        self.place = Place::Step { table: Argument::Missing, text: false };
    }

    fn delimiter(&mut self, index: usize, line: &str) {
        self.place = match self.place {
            Place::DocString { table, .. } => {
                let content = std::mem::take(&mut self.content).join("\n");
                if let Some(step) = self.steps().and_then(|steps| steps.last_mut()) {
                    step.docstring = Some(content);
                }
                Place::Step { table, text: true }
            }
            Place::Step { table, .. } => Place::DocString {
                delimiter: line::delimiter(line).unwrap_or_default(),
                indentation: indentation(self.lines[index]),
                opened: index + 1,
                table: if table == Argument::Open { Argument::Complete } else { table },
            },
            elsewhere => elsewhere,
        };
    }

    fn row(&mut self, line: &str, position: LineCol) {
        let below_step = match &mut self.place {
            Place::Step { table, .. } => {
                *table = Argument::Open;
                true
            }
            place => {
                *place = Place::ExamplesTable;
                false
            }
        };
        let cells = line::cells(line);
        let table = match below_step {
            true => self.steps().and_then(|steps| steps.last_mut()).map(|step| &mut step.table),
            false => self.examples().map(|examples| &mut examples.table),
        };
        let Some(table) = table else { return };
        let table = table.get_or_insert_with(|| Table::builder().rows(Vec::new()).position(position).build());
        let (first, count) = (table.rows.first().map(Vec::len), cells.len());
        table.rows.push(cells);
        match first {
            None => self.ragged = false,
            Some(first) if first != count && !self.ragged => {
                self.ragged = true;
                let problem = format!(
                    "this row of a table has {count} cells, but its first row has {first}: write | before and after each \
                     cell, and \\| for a | inside one"
                );
                self.wrong(position.line - 1, position.col, problem);
            }
            Some(_) => {}
        }
    }

    fn other(&mut self, raw: &'a str) {
        match self.place {
            Place::DocString { delimiter, indentation: removed, .. } => {
                let text = if removed <= indentation(raw) { &raw[removed..] } else { raw.trim_start() };
                let escaped: String = delimiter.chars().flat_map(|c| ['\\', c]).collect();
                self.content.push(text.replace(&escaped, delimiter));
            }
            _ if self.description.is_empty() && raw.trim().is_empty() => {}
            _ => self.description.push(raw),
        }
    }

    fn end_description(&mut self) {
        let Place::Title(title) = self.place else { return };
        let text = std::mem::take(&mut self.description).join("\n").trim_end().to_owned();
        let place = match title {
            Title::Feature => Some(&mut self.feature.description),
            Title::Rule => self.feature.rules.last_mut().map(|rule| &mut rule.description),
            Title::Background => self.current_background().as_mut().map(|background| &mut background.description),
            Title::Scenario => self.scenarios().last_mut().map(|scenario| &mut scenario.description),
            Title::Examples => self.examples().map(|examples| &mut examples.description),
        };
        if let Some(place) = place {
            *place = Some(text).filter(|text| !text.is_empty());
        }
    }

    fn examples(&mut self) -> Option<&mut Examples> {
        self.scenarios().last_mut()?.examples.last_mut()
    }

    /// Returns the scenarios of the last rule, or of the feature if it has no rule.
    fn scenarios(&mut self) -> &mut Vec<Scenario> {
        match self.feature.rules.last_mut() {
            Some(rule) => &mut rule.scenarios,
            None => &mut self.feature.scenarios,
        }
    }

    fn current_background(&mut self) -> &mut Option<Background> {
        match self.feature.rules.last_mut() {
            Some(rule) => &mut rule.background,
            None => &mut self.feature.background,
        }
    }

    fn steps(&mut self) -> Option<&mut Vec<Step>> {
        match self.background {
            true => self.current_background().as_mut().map(|background| &mut background.steps),
            false => self.scenarios().last_mut().map(|scenario| &mut scenario.steps),
        }
    }

    /// Returns the type of the last step of the backgrounds above, which run before the steps that follow.
    fn inherited_type(&self) -> StepType {
        let of_rule = self.feature.rules.last().and_then(|rule| rule.background.as_ref());
        let backgrounds = of_rule.into_iter().chain(&self.feature.background);
        backgrounds
            .filter_map(|background| background.steps.last())
            .map(|step| step.ty)
            .next()
            .unwrap_or(StepType::Given)
    }
}

/// Returns how many spaces and tabs a line begins with.
fn indentation(line: &str) -> usize {
    line.len() - line.trim_start_matches([' ', '\t']).len()
}
