//! Makes texts, times and links as OSCAL's schema requires them.

use jiff::Timestamp;

/// Puts a text on one line that is not empty and has no space around it.
pub fn line(text: &str) -> String {
    // Readers disagree whether these are spaces.
    let text = text.replace(|c: char| c.is_control() || c == '\u{feff}', " ");
    match text.split_whitespace().collect::<Vec<_>>().join(" ") {
        empty if empty.is_empty() => "(nothing)".to_owned(),
        line => line,
    }
}

/// Formats a time; the schema allows the years 1900 to 2999, and all runs are within these.
pub fn moment(at: Timestamp) -> String {
    const FIRST: Timestamp = Timestamp::constant(-2_208_988_800, 0);
    const LAST: Timestamp = Timestamp::constant(32_503_679_999, 0);
    at.clamp(FIRST, LAST).to_string()
}

/// Returns the address of a file, relative to the folder of the run. No name can make it lead elsewhere.
pub fn href(file: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    let part = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    file.bytes().map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_one_line_with_something_in_it() {
        assert_eq!(line("\u{feff} a\n b\u{2028}c\u{1c}\0"), "a b c");
        assert_eq!(line(" \n"), "(nothing)");
    }

    #[test]
    fn a_time_has_a_year_that_the_schema_knows() {
        assert_eq!(moment(Timestamp::MIN), "1900-01-01T00:00:00Z");
        assert_eq!(moment(Timestamp::MAX), "2999-12-31T23:59:59Z");
        let now: Timestamp = "2026-11-24T15:22:34.5Z".parse().unwrap();
        assert_eq!(moment(now), "2026-11-24T15:22:34.5Z");
    }

    #[test]
    fn a_link_leads_nowhere_but_to_its_file() {
        assert_eq!(href("trials/workload warm 3.txt"), "trials/workload%20warm%203.txt");
        assert_eq!(href("javascript:alert(1)"), "javascript%3Aalert%281%29");
    }
}
