//! Reads single lines of Gherkin: tags, cells, delimiters, the language, and characters that cannot be seen.

/// Returns whether a character cannot be seen, or looks like a space.
pub(super) fn invisible(c: char) -> bool {
    let plain = matches!(c, ' ' | '\t');
    let format = matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}');
    !plain && (c.is_whitespace() || c.is_control() || format)
}

/// Returns a line as it looks.
pub(super) fn without_invisible(line: &str) -> String {
    let seen = |c: char| match invisible(c) {
        true => c.is_whitespace().then_some(' '),
        false => Some(c),
    };
    line.chars().filter_map(seen).collect()
}

/// Returns the code in `# language: de`.
pub(super) fn language(line: &str) -> Option<&str> {
    let code = line.strip_prefix('#')?.trim().strip_prefix("language")?.trim_start().strip_prefix(':')?.trim();
    let letter = |c: char| c.is_ascii_alphabetic() || matches!(c, '-' | '_');
    (!code.is_empty() && code.chars().all(letter)).then_some(code)
}

pub(super) fn delimiter(line: &str) -> Option<&'static str> {
    ["\"\"\"", "```"].into_iter().find(|delimiter| line.starts_with(delimiter))
}

/// Returns the tags of a line without their `@`, each with the number of the character at which it begins.
pub(super) fn tags(line: &str) -> impl Iterator<Item = (usize, &str)> {
    let comment =
        line.char_indices().zip(line.chars().skip(1)).find(|((_, c), next)| c.is_whitespace() && *next == '#');
    let line = comment.map_or(line, |((start, _), _)| &line[..start]);
    let (mut counted, mut place) = (0, 1);
    line.match_indices('@').map(move |(start, _)| {
        place += line[counted..start].chars().count();
        counted = start;
        let tag = line[start + 1..].split('@').next().unwrap_or_default();
        (place, tag.trim())
    })
}

/// Returns the cells of a table's row. A cell has a line break for `\n`, and `\|` and `\\` stand for what they escape.
pub(super) fn cells(line: &str) -> Vec<String> {
    let mut cells = Vec::new();
    let mut cell = String::new();
    let mut chars = line.chars().skip(1);
    while let Some(c) = chars.next() {
        match c {
            '|' => {
                let blank = |c: char| c.is_whitespace() && c != '\n';
                cells.push(std::mem::take(&mut cell).trim_matches(blank).to_owned());
            }
            '\\' => match chars.next() {
                Some('n') => cell.push('\n'),
                Some(escaped @ ('|' | '\\')) => cell.push(escaped),
                other => cell.extend(['\\'].into_iter().chain(other)),
            },
            c => cell.push(c),
        }
    }
    cells
}
