//! Compares printed lines with lines that a text shows, by their shape: the same words, with whatever differs between two
//! machines or two days replaced by its kind.

/// Kinds of what differs.
const NUMBER: &str = "<number>";
const SIZE: &str = "<size>";
const TIME: &str = "<time>";
const DIGEST: &str = "<digest>";
/// So many digits that they are a number, or a digest without letters.
const EITHER: &str = "<number or digest>";
const DATE: &str = "<date>";
const HOST: &str = "<host>";
const AGO: &str = "<time> ago";

const SIZES: &str = "B K M G T KB MB GB TB kB KiB MiB GiB TiB Ki Mi Gi Ti";
const TIMES: &str = "ns us ms s min h";
const MONTHS: &str = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec";
/// How tools write the architectures that the annex and this host may have.
const ARCHITECTURES: [&str; 6] = ["AArch64", "aarch64", "arm64", "x86-64", "x86_64", "amd64"];

/// Returns the first line of `shown` that nothing printed has the shape of. What else is printed does not matter, nor in
/// which order, nor do columns that are left out in a shown line; a shown line of dots stands for whatever is left out.
pub fn lacks<'a>(shown: &'a [String], printed: &str) -> Option<&'a str> {
    let printed: Vec<Vec<String>> = printed.lines().map(shape).collect();
    let is_there = |line: &&String| {
        let wanted = shape(line);
        wanted.iter().all(|word| word == "...") || printed.iter().any(|line| contains(line, &wanted))
    };
    shown.iter().find(|line| !is_there(line)).map(String::as_str)
}

/// Returns whether a line has these words, in this order.
fn contains(line: &[String], wanted: &[String]) -> bool {
    let mut rest = line.iter();
    wanted.iter().all(|word| rest.any(|other| is_alike(other, word)))
}

fn is_alike(one: &str, other: &str) -> bool {
    [NUMBER, DIGEST].iter().any(|kind| one.replace(EITHER, kind) == other.replace(EITHER, kind))
}

/// Returns the words of a line, each by its kind.
fn shape(line: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let all: Vec<&str> = line.split_whitespace().collect();
    let logged = matches!(all[..], [month, _, time, _, ..] if has(MONTHS, month) && time.matches(':').count() == 2);
    if logged {
        words.extend([DATE, HOST].map(str::to_owned));
    }
    for word in all.into_iter().skip(if logged { 4 } else { 0 }) {
        if let Some(last) = words.last_mut().filter(|last| *last == NUMBER && has(SIZES, word)) {
            *last = SIZE.to_owned();
        } else if word == "ago" {
            let amounts = ["about", "less", "than", "a", "an", NUMBER];
            words.pop();
            while words.last().is_some_and(|word| amounts.contains(&word.to_lowercase().as_str())) {
                words.pop();
            }
            words.push(AGO.to_owned());
        } else {
            words.push(kind(word.trim_end_matches(',')));
        }
    }
    words
}

fn has(list: &str, word: &str) -> bool {
    list.split(' ').any(|one| one == word)
}

/// Returns a word with what differs in it replaced.
fn kind(word: &str) -> String {
    if let Some((key, value)) = word.split_once('=') {
        return format!("{key}={}", kind(value));
    }
    let digits = word.strip_prefix("sha256:").unwrap_or(word).trim_end_matches('.');
    let hexadecimal = digits.len() >= 12 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if hexadecimal {
        let decimal = digits == word && digits.bytes().all(|byte| byte.is_ascii_digit());
        return if decimal { EITHER } else { DIGEST }.to_owned();
    }
    let word = ARCHITECTURES.iter().fold(word.to_owned(), |word, name| word.replace(name, "<architecture>"));
    let word = numbers(&word);
    match word.strip_prefix(NUMBER) {
        Some(unit) if has(SIZES, unit) => SIZE.to_owned(),
        Some(unit) if has(TIMES, unit) => TIME.to_owned(),
        _ => word,
    }
}

/// Returns a word with each number and version in it replaced.
fn numbers(word: &str) -> String {
    let (mut text, mut rest) = (String::new(), word);
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let number =
            rest[start..].find(|c: char| !c.is_ascii_digit() && c != '.').map_or(rest.len(), |end| start + end);
        text += &rest[..start];
        text += NUMBER;
        rest = &rest[number..];
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lacking(shown: &str, printed: &str) -> Option<String> {
        let shown: Vec<String> = shown.lines().map(str::to_owned).collect();
        lacks(&shown, printed).map(str::to_owned)
    }

    #[test]
    fn what_differs_between_machines_and_days_does_not_matter() {
        for (shown, printed) in [
            ("tool version 4.9.3", "tool version 5.4.2"),
            ("85K", "-rwxr-xr-x 2 assay assay 1.2M Nov 27 20:00 a.wasm"),
            ("Mem: 411Mi 196Mi", "Mem:   23Gi   996Ki"),
            ("Swap: 0B", "Swap: 2.0Gi"),
            ("x/y 1.0 a20621d73bab 2 minutes ago 89.5 kB", "x/y 1.0 0123456789ab About a minute ago 1.2 MB"),
            ("x/y 1.0 2 minutes ago 89.5 kB", "x/y 1.0 Less than a second ago 89.5 kB"),
            ("x/y 1.0 89.5 kB", "x/y  1.0  a20621d73bab  3 days ago  89.5 kB"),
            (
                "copied sha256:97a70e246ed6...",
                "copied sha256:97a70e246ed697a70e246ed697a70e246ed697a70e246ed697a70e246ed6dd01",
            ),
            ("Peak=18685952", "Current=1\nPeak=4096"),
            ("Quota=100ms", "Quota=1.5s"),
            (
                "lib.so.0 (libc6,AArch64) => /lib/aarch64-linux-gnu/lib.so.0",
                "\tlib.so.0 (libc6,x86-64) => /lib/x86_64-linux-gnu/lib.so.0",
            ),
            (
                "Feb 09 16:54:42 ip-10-0-1-207 a[5933]: [1] x=23°C, at=17",
                "Nov 27 01:02:03 assay a[7]: [5] x=35°C, at=18",
            ),
            ("+A +B", "+A +NEW +B"),
            ("x a20621d73bab Used=7", "x 206217312345 Used=206217312345"),
            ("a\n...\nb", "b\na\n"),
            ("\"Os\": \"wasi\",\n},", "  \"Os\": \"wasi\"\n  }"),
        ] {
            assert_eq!(lacking(shown, printed), None, "{shown} / {printed}");
        }
    }

    #[test]
    fn other_words_columns_and_keys_are_another_shape() {
        for (shown, printed) in [
            ("tool version 4.9.3", "tool 4.9.3"),
            ("Peak=18685952", "Peak=[not set]"),
            ("Peak=18685952", "Peaks=18685952"),
            ("Mem: 411Mi", "Mem: 411"),
            ("died (exit code: 0)", "died 0123456789ab (image=x)"),
            ("NAME TAG", "TAG NAME"),
            ("x 89.5 kB", "x 89.5"),
            ("x a20621d73bab", "x 2062173"),
            ("Feb 09 16:54:42 host a[1]: up", "host a[1]: up"),
            ("85K", ""),
        ] {
            assert_eq!(lacking(shown, printed).as_deref(), Some(shown), "{printed}");
        }
        assert_eq!(lacking("a\nb\nc", "a c"), Some("b".to_owned()), "the first that is missing");
    }
}
