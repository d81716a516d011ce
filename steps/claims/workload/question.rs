//! What a scenario asks a workload that is up, as its steps say it.

use std::sync::LazyLock;

use regex::Regex;

use crate::base::unit::Duration;

/// A question about a workload that is up.
#[derive(Clone, Debug, PartialEq)]
pub enum Question {
    /// Whether it is ready within this time.
    Ready(Duration),
    /// Whether a client connects to this port.
    Connect(u16),
    /// What a URL answers.
    Get(String),
    /// What a command in its container prints.
    Exec(String),
    /// Whether what is in its volume outlives a restart: the path there, or its first volume.
    Kept(Option<String>),
    /// Whose processes its container has.
    Users,
    /// Which capabilities they have besides these.
    Capabilities(Vec<String>),
    /// How much memory it takes while so many requests a second are made to a URL.
    Load(u32, String),
    /// Whether it is back within this time after it was killed.
    Back(Duration),
    /// Whether it stops within this time.
    Stops(Duration),
    /// Of a pair: how much memory its container's processes take after it has answered a request to this URL, or 1 s after
    /// it is up.
    Memory(Option<String>),
    /// Of a pair: how many requests to a URL it answers in a second.
    Rate(String),
}

/// A part of a step's text in quotes.
const QUOTED: &str = r#"(?:"([^"]*)"|'([^']*)')"#;
const TIME: &str = r"([\d.]+ (?:ms|s|min|h))";

impl Question {
    /// Returns the question that a step asks, if it asks one.
    pub fn of(step: &str) -> Option<Question> {
        static PATTERNS: LazyLock<Vec<Regex>> = LazyLock::new(|| {
            let patterns = [
                format!("^it is ready within {TIME}$"),
                r"^a client connects to port (\d+)$".to_owned(),
                r"^GET (\S+) answers (\d+)".to_owned(),
                format!("^the command {QUOTED} in its container prints "),
                "^what was in its volume is there after a restart$".to_owned(),
                format!("^what was in its volume at {QUOTED} is there after a restart$"),
                "^it runs without root$".to_owned(),
                format!("^it runs with no capability but {QUOTED}$"),
                r"^it keeps within (.+) while (\d+) requests a second are made to (\S+)$".to_owned(),
                format!("^after SIGKILL it is back within {TIME}$"),
                format!("^it stops within {TIME} when asked$"),
            ];
            patterns.map(|pattern| Regex::new(&pattern).expect("a constant pattern")).into()
        });
        let (index, found) = PATTERNS.iter().enumerate().find_map(|(index, one)| Some((index, one.captures(step)?)))?;
        let mut parts = found.iter().skip(1).flatten().map(|part| part.as_str().to_owned());
        let first = parts.next().unwrap_or_default();
        let time = |text: &str| text.parse::<Duration>().ok();
        Some(match index {
            0 => Question::Ready(time(&first)?),
            1 => Question::Connect(first.parse().ok()?),
            2 => Question::Get(first),
            3 => Question::Exec(first),
            4 => Question::Kept(None),
            5 => Question::Kept(Some(first)),
            6 => Question::Users,
            7 => Question::Capabilities(
                first.split([',', ' ']).filter(|name| !name.is_empty()).map(str::to_owned).collect(),
            ),
            8 => Question::Load(parts.next()?.parse().ok()?, parts.next()?),
            9 => Question::Back(time(&first)?),
            _ => Question::Stops(time(&first)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_question_of_a_step_is_read_from_its_text() {
        let url = || "http://localhost:8080/".to_owned();
        for (step, question) in [
            ("it is ready within 500 ms", Question::Ready(Duration(0.5))),
            ("a client connects to port 1883", Question::Connect(1883)),
            ("GET http://localhost:8080/ answers 200", Question::Get(url())),
            ("GET http://localhost:8080/ answers 200 with \"Welcome\"", Question::Get(url())),
            (
                "the command \"redis-cli ping\" in its container prints \"PONG\"",
                Question::Exec("redis-cli ping".into()),
            ),
            ("the command 'sh -c \"x\"' in its container prints \"y\"", Question::Exec("sh -c \"x\"".into())),
            ("what was in its volume is there after a restart", Question::Kept(None)),
            ("what was in its volume at \"/d\" is there after a restart", Question::Kept(Some("/d".into()))),
            ("it runs without root", Question::Users),
            (
                "it runs with no capability but \"CAP_A, CAP_B\"",
                Question::Capabilities(vec!["CAP_A".into(), "CAP_B".into()]),
            ),
            (
                "it keeps within 48 MiB while 50 requests a second are made to http://localhost:8080/",
                Question::Load(50, url()),
            ),
            ("after SIGKILL it is back within 5 s", Question::Back(Duration(5.0))),
            ("it stops within 10 s when asked", Question::Stops(Duration(10.0))),
        ] {
            assert_eq!(Question::of(step), Some(question), "{step}");
        }
        for step in ["its exit code is 0", "a client connects to port 99999", "it stops within 10 s"] {
            assert_eq!(Question::of(step), None, "{step}");
        }
    }
}
