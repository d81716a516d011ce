//! Reads unit files, Quadlets among them, by the rules of systemd.syntax(7), and changes one setting without touching
//! anything else. Reading never fails: `mistakes` lists the lines that systemd would ignore and Podman would refuse.

use std::ops::Range;

/// A unit file's settings, and where each stands in its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitFile<'a> {
    text: &'a str,
    /// The name of each section, and where the line after its heading begins.
    sections: Vec<(&'a str, usize)>,
    settings: Vec<Setting<'a>>,
    /// The lines that hold neither a section nor a comment nor a setting, with their numbers.
    pub mistakes: Vec<(usize, &'a str)>,
}

/// One line `KEY=VALUE`, with the lines that continue it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Setting<'a> {
    section: &'a str,
    key: &'a str,
    value: String,
    /// Where its value stands in the text, continuations and comments between them included.
    place: Range<usize>,
    /// Where the next line begins.
    end: usize,
}

impl<'a> UnitFile<'a> {
    pub fn parse(text: &'a str) -> UnitFile<'a> {
        let mut file = UnitFile { text, sections: Vec::new(), settings: Vec::new(), mistakes: Vec::new() };
        let mut lines = lines(text).enumerate();
        while let Some((number, (start, line, mut end))) = lines.next() {
            if is_comment(line) || line.is_empty() {
                continue;
            }
            let (mut joined, mut part, mut value_end) = (String::new(), line, start + line.len());
            // A backslash at the end of a line becomes a blank; comments between the continued lines are skipped.
            while let Some(begun) = continued(part) {
                joined += begun;
                joined.push(' ');
                part = "";
                let Some((_, next)) = lines.find(|(_, (_, line, _))| !is_comment(line)) else { break };
                (part, end) = (next.1, next.2);
                if !part.is_empty() {
                    value_end = next.0 + part.len();
                }
            }
            joined += part;
            file.take((number + 1, line), &joined, start..value_end, end);
        }
        file
    }

    /// Adds a line, which may continue on others: `joined` is all of it.
    fn take(&mut self, (number, line): (usize, &'a str), joined: &str, place: Range<usize>, end: usize) {
        if let Some(name) = line.strip_prefix('[') {
            return match name.strip_suffix(']').filter(|name| !name.is_empty() && !name.contains(['[', ']'])) {
                Some(name) => self.sections.push((name, end)),
                None => self.mistakes.push((number, line)),
            };
        }
        let setting = line.split_once('=').map(|(key, value)| (key.trim_end(), value.trim_start()));
        match (setting, self.sections.last()) {
            (Some((key, value)), Some((section, _))) if !key.is_empty() => {
                let start = place.start + line.len() - value.len();
                let value = joined.split_once('=').map_or("", |(_, value)| value.trim()).to_owned();
                self.settings.push(Setting { section, key, value, place: start..place.end.max(start), end });
            }
            _ => self.mistakes.push((number, line)),
        }
    }

    fn of(&self, section: &str, key: &str) -> impl DoubleEndedIterator<Item = &Setting<'a>> {
        self.settings.iter().filter(move |setting| (setting.section, setting.key) == (section, key))
    }

    /// Returns the value of a setting that has one: the last, unless that is empty.
    pub fn last(&self, section: &str, key: &str) -> Option<&str> {
        self.of(section, key).next_back().map(|setting| setting.value.as_str()).filter(|value| !value.is_empty())
    }

    /// Returns the names of its sections, in the order of the file.
    pub fn sections(&self) -> impl Iterator<Item = &'a str> {
        self.sections.iter().map(|(name, _)| *name)
    }

    /// Returns each setting: its section, its key, and its value, which may be empty.
    pub fn settings(&self) -> impl Iterator<Item = (&'a str, &'a str, &str)> {
        self.settings.iter().map(|setting| (setting.section, setting.key, setting.value.as_str()))
    }

    /// Returns the values of a setting that may be written several times: all since the last empty one.
    pub fn values(&self, section: &str, key: &str) -> Vec<&str> {
        let all: Vec<&str> = self.of(section, key).map(|setting| setting.value.as_str()).collect();
        let begin = all.iter().rposition(|value| value.is_empty()).map_or(0, |empty| empty + 1);
        all[begin..].to_vec()
    }

    /// Returns the words of a setting that is a list: all of them since the last empty value, without their quotes.
    pub fn words(&self, section: &str, key: &str) -> Vec<String> {
        let mut all = Vec::new();
        for setting in self.of(section, key) {
            match setting.value.is_empty() {
                true => all.clear(),
                false => all.extend(split(&setting.value)),
            }
        }
        all
    }

    /// Returns the text with another value for a setting that has one.
    pub fn with(&self, section: &str, key: &str, value: &str) -> String {
        match self.of(section, key).next_back() {
            Some(setting) => [&self.text[..setting.place.start], value, &self.text[setting.place.end..]].concat(),
            None => self.with_line(section, key, value),
        }
    }

    /// Returns the text without those settings of a list whose value is `unwanted`.
    pub fn without(&self, section: &str, key: &str, unwanted: impl Fn(&str) -> bool) -> String {
        let mut text = self.text.to_owned();
        for setting in self.of(section, key).rev().filter(|setting| unwanted(&setting.value)) {
            let line = self.text[..setting.place.start].rfind('\n').map_or(0, |end| end + 1);
            text.replace_range(line..setting.end, "");
        }
        text
    }

    /// Returns the text with one more value for a setting that is a list.
    pub fn with_line(&self, section: &str, key: &str, value: &str) -> String {
        let begun = self.sections.iter().find(|(name, _)| *name == section).map(|(_, end)| *end);
        let after = self.of(section, key).next_back().map(|setting| setting.end).or(begun);
        let (before, rest) = self.text.split_at(after.unwrap_or(self.text.len()));
        let heading = if after.is_some() { String::new() } else { format!("\n[{section}]\n") };
        let mut before = before.to_owned();
        if !before.is_empty() && !before.ends_with('\n') {
            before.push('\n');
        }
        // A last line that goes on with nothing must not go on with the new one.
        let ended =
            before.lines().next_back().is_none_or(|line| is_comment(line.trim()) || continued(line.trim()).is_none());
        let blank = if ended || !heading.is_empty() { "" } else { "\n" };
        format!("{before}{blank}{heading}{key}={value}\n{rest}")
    }
}

/// Returns a value with its specifiers replaced, for the unit `name`; an error is the one that only the machine knows.
pub fn specified(value: &str, name: &str) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = value.chars();
    while let Some(c) = rest.next() {
        match (c, if c == '%' { rest.next() } else { None }) {
            ('%', Some('%') | None) => out.push('%'),
            ('%', Some('n')) => out += &format!("{name}.service"),
            ('%', Some('N' | 'p')) => out += name,
            ('%', Some('i' | 'I')) => (),
            ('%', Some(other)) => return Err(format!("%{other}")),
            _ => out.push(c),
        }
    }
    Ok(out)
}

/// Returns each line without the blanks around it: where it begins, its text, and where the next one begins.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str, usize)> {
    let mut end = 0;
    text.split_inclusive('\n').map(move |whole| {
        let line = if end == 0 { whole.strip_prefix('\u{feff}').unwrap_or(whole) } else { whole };
        end += whole.len();
        (end - line.trim_start().len(), line.trim(), end)
    })
}

fn is_comment(line: &str) -> bool {
    line.starts_with(['#', ';'])
}

/// Returns a line without the backslash at its end, if it ends with one that is not escaped.
fn continued(line: &str) -> Option<&str> {
    let backslashes = line.len() - line.trim_end_matches('\\').len();
    (backslashes % 2 == 1).then(|| &line[..line.len() - 1])
}

/// Splits a list, or a command, into its words: quotes are removed, and what a backslash stands for is put in its place.
pub fn split(value: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    let mut rest = value;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match (c, quote) {
            ('\\', _) => {
                let (means, length) = escape(rest).unwrap_or(('\\', 0));
                word.get_or_insert_default().push(means);
                rest = &rest[length..];
            }
            ('"' | '\'', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (c, Some(open)) if c == open => quote = None,
            (c, None) if c.is_whitespace() => words.extend(word.take()),
            (c, _) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// Returns the character that follows a backslash stands for, and the length of what names it.
fn escape(rest: &str) -> Option<(char, usize)> {
    let number = |from: usize, length: usize, base: u32| {
        let digits = rest.get(from..from + length).filter(|digits| digits.chars().all(|c| c.is_digit(base)))?;
        let c = u32::from_str_radix(digits, base).ok().and_then(char::from_u32).filter(|c| *c != '\0')?;
        Some((c, from + length))
    };
    let first = rest.chars().next()?;
    const NAMED: [(char, char); 11] = [
        ('a', '\x07'),
        ('b', '\x08'),
        ('f', '\x0c'),
        ('n', '\n'),
        ('r', '\r'),
        ('t', '\t'),
        ('v', '\x0b'),
        ('\\', '\\'),
        ('"', '"'),
        ('\'', '\''),
        ('s', ' '),
    ];
    match first {
        'x' => number(1, 2, 16),
        'u' => number(1, 4, 16),
        'U' => number(1, 8, 16),
        '0'..='7' => number(0, 3, 8),
        _ => NAMED.iter().find(|(name, _)| *name == first).map(|(_, means)| (*means, 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_last_value_of_a_setting_counts_as_systemd_reads_it() {
        for (text, expected) in [
            ("[Service]\nMemoryMax=64M\n", Some("64M")),
            ("[Service]\n  MemoryMax \t=  64M  \n", Some("64M")),
            ("[Service]\nMemoryMax=64M", Some("64M")),
            ("\u{feff}[Service]\r\nMemoryMax=64M\r\n", Some("64M")),
            ("[Service]\nMemoryMax=1G\nMemoryMax=64M\n", Some("64M")),
            ("[Service]\nMemoryMax=64M\nMemoryMax=\n", None),
            ("[Service]\nMemoryMax=\\\n64M\n", Some("64M")),
            ("[Service]\nMemoryMax=\\\n# why\n; and why\n  64M\n", Some("64M")),
            ("[Service]\nMemoryMax=64M\\\n", Some("64M")),
            ("[Service]\nMemoryMax=64M \\\n\nCPUQuota=1%\n", Some("64M")),
            ("[Service]\nMemoryMax=64 \\ \n M\n", Some("64  M")),
            ("[Service]\nX=a\\\\\nMemoryMax=64M\n", Some("64M")),
            ("[Service]\nX=a\\\nMemoryMax=64M\n", None),
            (
                "[Service]\n#MemoryMax=1\n; MemoryMax=1\nX=#\nMemoryMax=64M # not a comment\n",
                Some("64M # not a comment"),
            ),
            ("# \\\n[Service]\n# goes on? \\\nMemoryMax=64M\n", Some("64M")),
            ("[Service]\nMemoryMax=64M\n[Install]\nMemoryMax=1\n[Service]\nX=1\n", Some("64M")),
            ("[Service]\nMemoryMax=1\n[Install]\nX=1\n[Service]\nMemoryMax=64M\n", Some("64M")),
            ("[Service]\nmemorymax=1\n[service]\nMemoryMax=1\n", None),
            ("[Service]\nMemoryMax=%t=%h\n", Some("%t=%h")),
            ("MemoryMax=64M\n", None),
            ("", None),
        ] {
            assert_eq!(UnitFile::parse(text).last("Service", "MemoryMax"), expected, "{text:?}");
        }
    }

    #[test]
    fn a_list_is_split_into_words_without_quotes_and_escapes() {
        for (text, expected) in [
            ("A=a b\nA=c\n", &["a", "b", "c"][..]),
            ("A=a\nA=\nA=b  \\\n  c\n", &["b", "c"]),
            (r#"A="a b" 'c "d"' e"f g"h ''"#, &["a b", "c \"d\"", "ef gh", ""]),
            (r"A=a\sb \x41\101\u00e4 \\ \q \x00", &["a b", "AA\u{e4}", "\\", "\\q", "\\x00"]),
            ("A=\"not closed\n", &["not closed"]),
            ("A=\u{e4}\\\u{e4}\\x\u{e4}\n", &["\u{e4}\\\u{e4}\\x\u{e4}"]),
        ] {
            assert_eq!(UnitFile::parse(&format!("[Container]\n{text}")).words("Container", "A"), expected, "{text}");
        }
    }

    #[test]
    fn lines_that_say_nothing_are_listed_with_their_numbers() {
        let text = "X=1\n[Service]\nMemoryMax 64M\n=2\n[Install\n[]\n[a]b\nY=\\\n3\nlast \\\nline\n";
        let wrong =
            [(1, "X=1"), (3, "MemoryMax 64M"), (4, "=2"), (5, "[Install"), (6, "[]"), (7, "[a]b"), (10, "last \\")];
        assert_eq!(UnitFile::parse(text).mistakes, wrong);
    }

    #[test]
    fn specifiers_that_the_name_answers_are_replaced() {
        for (value, expected) in [
            ("50%% of %n: %p, %N%i, 3%", Ok("50% of web.service: web, web, 3%".to_owned())),
            ("%h/data", Err("%h".to_owned())),
        ] {
            assert_eq!(specified(value, "web"), expected);
        }
    }

    #[test]
    fn a_change_leaves_every_other_byte() {
        for (text, with, with_line) in [
            ("[S]\nA=1\nB=2\n", "[S]\nA=9\nB=2\n", "[S]\nA=1\nA=9\nB=2\n"),
            ("[S]\r\n A = 1 \r\nB=2\r\n", "[S]\r\n A = 9 \r\nB=2\r\n", "[S]\r\n A = 1 \r\nA=9\nB=2\r\n"),
            ("[S]\nA=1\nB=2\nA=3", "[S]\nA=1\nB=2\nA=9", "[S]\nA=1\nB=2\nA=3\nA=9\n"),
            ("[S]\nA=\nB=2\n", "[S]\nA=9\nB=2\n", "[S]\nA=\nA=9\nB=2\n"),
            ("[S]\nA=1 \\\n# why\n 2\nB=2\n", "[S]\nA=9\nB=2\n", "[S]\nA=1 \\\n# why\n 2\nA=9\nB=2\n"),
            ("[S]\nA=1 \\\n\nB=2\n", "[S]\nA=9\n\nB=2\n", "[S]\nA=1 \\\n\nA=9\nB=2\n"),
            ("[S]\nA=1 \\\n", "[S]\nA=9\n", "[S]\nA=1 \\\n\nA=9\n"),
            ("[S]\nB=2\n[T]\nA=1\n[S]\nB=3\n", "[S]\nA=9\nB=2\n[T]\nA=1\n[S]\nB=3\n", ""),
            ("[T]\nA=1", "[T]\nA=1\n\n[S]\nA=9\n", ""),
            ("[S]", "[S]\nA=9\n", ""),
        ] {
            let file = UnitFile::parse(text);
            assert_eq!(file.with("S", "A", "9"), with, "{text:?}");
            assert_eq!(file.with_line("S", "A", "9"), if with_line.is_empty() { with } else { with_line }, "{text:?}");
        }
    }

    /// Makes texts of the pieces that matter to a reader.
    fn texts() -> impl Strategy<Value = String> {
        const PIECES: [&str; 15] = [
            "[S]\n", "[T]\n", "A=", "A = ", "B=", "1", "\"x y\"", " ", "\\", "\\\n", "\n", "\r\n", "# c\n", ";",
            "\u{e4}[",
        ];
        prop::collection::vec(prop::sample::select(&PIECES), 0..24).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 5_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn whatever_the_text_a_change_is_read_back_and_changes_no_other_setting(text in texts()) {
            fn all<'f>(file: &'f UnitFile, others: bool) -> Vec<(&'f str, &'f str, &'f str)> {
                let own = |one: &&Setting| (one.section, one.key) == ("S", "A");
                let wanted = file.settings.iter().filter(|one| own(one) != others);
                wanted.map(|one| (one.section, one.key, one.value.as_str())).collect()
            }
            let file = UnitFile::parse(&text);
            let (one, more) = (file.with("S", "A", "9"), file.with_line("S", "A", "9"));
            for (changed, values) in [(&one, all(&file, false).len().max(1)), (&more, all(&file, false).len() + 1)] {
                let read = UnitFile::parse(changed);
                assert_eq!(read.last("S", "A"), Some("9"), "{text:?} {changed:?}");
                assert_eq!(all(&read, true), all(&file, true), "{text:?} {changed:?}");
                assert_eq!(
                    (read.mistakes.len(), all(&read, false).len()),
                    (file.mistakes.len(), values),
                    "{text:?} {changed:?}"
                );
                // Nothing is gone but the old value.
                let old =
                    if changed == &one { file.of("S", "A").next_back().map_or(0, |one| one.place.len()) } else { 0 };
                let before = text.bytes().zip(changed.bytes()).take_while(|(old, new)| old == new).count();
                let after = text.bytes().rev().zip(changed.bytes().rev()).take_while(|(old, new)| old == new).count();
                assert!(before + after + old >= text.len(), "{text:?} {changed:?}");
            }
        }
    }
}
