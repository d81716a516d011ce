//! Removes secrets from text: known ones, and text that looks like one. Pure.

use std::borrow::Cow;
use std::sync::LazyLock;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use regex::Regex;
use serde_json::Value as Json;

use crate::base::settings::secret_variable;

pub const REDACTED: &str = "[redacted]";

/// Names whose values are secrets, as they appear before `=`, `:` or a separate value.
const NAMES: &str = "(?:secret[_-]?access[_-]?key|client[_-]?secret|secret|(?:session|security|access|auth|refresh|id|identity)[_-]?token|\
    token|password|passwd|passphrase|api[_-]?key|private[_-]?key|user[_-]?data|set-cookie|cookie|x-amz-signature)";

/// The patterns, in the order of their application; `NAMES` stands for the constant. What groups 1 and 2 match stays before
/// and after the secret. A value ends where a text, a JSON string or an argument ends.
static PATTERNS: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    let patterns = [
        // PEM keys: complete ones, even with a prefix on each line, then those that are cut off.
        r"(?s)-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?-----END [A-Z0-9 ]*PRIVATE KEY-----",
        r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----(?:(?:\s|\\[rn])*[A-Za-z0-9+/=]{16,})*",
        // cloud-init data: up to an empty line or the end of the text or string.
        r#"#cloud-config[^\n"]*(?:\n[^\n"]+)*"#,
        r#"(?i)((?:proxy-)?authorization["']?\s*[:=]\s*["']?)[^\r\n"'\\]+"#,
        r"(?i)\b(bearer\s+)[A-Za-z0-9._~+/-]{16,}=*",
        r#"(?i)(NAMES\\?["']?\s*[:=]\s*\\?["']?)[^\s"',;&\\]{6,}"#,
        r#"(?i)(--(?:NAMES|creds)[ =])[^\s"'\\]+"#,
        r#"("auth"\s*:\s*")[A-Za-z0-9+/=]{8,}"#,
        r"(://[^/\s:@]+:)[^/\s@]+(@)",
        r"\b(?:AKIA|ASIA|ABIA|ACCA|AROA|AIDA)[A-Z0-9]{16}\b",
        r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*",
        r"\b(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|npm_[A-Za-z0-9]{20,})",
        r"\b(?:xox[abprs]-[A-Za-z0-9-]{10,}|AIza[\w-]{35})",
    ];
    patterns.map(|pattern| Regex::new(&pattern.replace("NAMES", NAMES)).expect("a constant pattern")).into()
});

static NAMED: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(&format!("(?i)(?:{NAMES}|authorization)$")).expect("a constant pattern"));

/// Redacts the known secrets of a run, and text that looks like a secret.
#[derive(Clone, Debug, Default)]
pub struct Redactor {
    known: Vec<String>,
}

impl Redactor {
    /// Adds a secret, with its JSON-escaped, Base64 and percent-encoded forms.
    pub fn hide(&mut self, secret: &str) {
        let secret = secret.trim();
        if secret.is_empty() {
            return;
        }
        for form in forms(secret) {
            if !self.known.contains(&form) {
                self.known.push(form);
            }
        }
        // Longest first, so that a secret that contains another is replaced as a whole.
        self.known.sort_by_key(|form| std::cmp::Reverse(form.len()));
    }

    pub fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut clean = Cow::Borrowed(text);
        for known in &self.known {
            if clean.contains(known.as_str()) {
                clean = Cow::Owned(clean.replace(known.as_str(), REDACTED));
            }
        }
        for pattern in PATTERNS.iter() {
            if let Cow::Owned(replaced) = pattern.replace_all(&clean, format!("${{1}}{REDACTED}${{2}}")) {
                clean = Cow::Owned(replaced);
            }
        }
        clean
    }

    /// Redacts a JSON value: all secrets in its strings, and every string whose name marks it as a secret.
    pub fn json(&self, value: Json) -> Json {
        match value {
            Json::String(text) => Json::String(self.text(&text).into_owned()),
            Json::Array(values) => Json::Array(values.into_iter().map(|value| self.json(value)).collect()),
            Json::Object(fields) => {
                let clean = |(name, value): (String, Json)| match value {
                    Json::String(text) if NAMED.is_match(&name) && !text.is_empty() => (name, REDACTED.into()),
                    value => (self.text(&name).into_owned(), self.json(value)),
                };
                Json::Object(fields.into_iter().map(clean).collect())
            }
            other => other,
        }
    }

    /// Redacts a file. In a `.jsonl` file, each line stays a valid JSON value.
    pub fn file<'a>(&self, name: &str, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        let text = String::from_utf8_lossy(bytes);
        match self.text(&text) {
            Cow::Borrowed(_) => Cow::Borrowed(bytes),
            Cow::Owned(_) if name.ends_with(".jsonl") => {
                let line = |line: &str| match serde_json::from_str::<Json>(line) {
                    Ok(value) => {
                        let clean = self.json(value).to_string();
                        // A secret with quotes of its own is a text of JSON whose value does not look like it.
                        let left = self.known.iter().any(|known| clean.contains(known.as_str()));
                        if left { Json::from(REDACTED).to_string() } else { clean }
                    }
                    Err(_) => self.text(line).into_owned(),
                };
                Cow::Owned(text.lines().map(|text| line(text) + "\n").collect::<String>().into_bytes())
            }
            Cow::Owned(clean) => Cow::Owned(clean.into_bytes()),
        }
    }

    /// Redacts the words of a command, including the word after `--password` and its like.
    pub fn words(&self, argv: &[String]) -> Vec<String> {
        let mut clean: Vec<String> = Vec::new();
        for word in argv {
            let named = clean.last().is_some_and(|last| last.starts_with("--") && NAMED.is_match(last));
            clean.push(if named { REDACTED.to_owned() } else { self.text(word).into_owned() });
        }
        clean
    }

    pub fn variables(&self, variables: &[(String, String)]) -> Vec<String> {
        let clean = |(name, value): &(String, String)| match secret_variable(name) {
            true if !value.is_empty() => format!("{name}={REDACTED}"),
            _ => self.text(&format!("{name}={value}")).into_owned(),
        };
        variables.iter().map(clean).collect()
    }
}

/// Returns a secret as it is, and in JSON, Base64 and percent encoding.
fn forms(secret: &str) -> [String; 4] {
    let quoted = Json::from(secret).to_string();
    let quoted = quoted[1..quoted.len() - 1].to_owned();
    [secret.to_owned(), quoted, BASE64_STANDARD.encode(secret), percent(secret)]
}

/// Percent-encodes a text: everything except letters, digits and `-._~`.
fn percent(text: &str) -> String {
    let byte = |byte: &u8| match byte.is_ascii_alphanumeric() || b"-._~".contains(byte) {
        true => char::from(*byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    text.as_bytes().iter().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn clean(text: &str) -> String {
        Redactor::default().text(text).into_owned()
    }

    #[test]
    fn a_known_secret_is_hidden_however_it_is_written() {
        let mut redactor = Redactor::default();
        redactor.hide("p&ss\"w rd");
        for text in ["p&ss\"w rd", r#"p&ss\"w rd"#, "cCZzcyJ3IHJk", "p%26ss%22w%20rd"] {
            assert_eq!(redactor.text(&format!("a {text} b")), "a [redacted] b");
        }
        redactor.hide(" ");
        assert_eq!(redactor.text("a b"), "a b", "nothing is not secret");
    }

    #[test]
    fn each_kind_of_secret_is_known_by_its_looks() {
        // Assembled here, so that secret scanners do not report them.
        let key = |kind: &str, cut: bool| {
            let end = if cut { String::new() } else { format!("-----END {kind}PRIVATE KEY-----\n") };
            format!("-----BEGIN {kind}PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmUA\n{end}")
        };
        let jwt = ["eyJhbGciOiJIUzI1NiJ9", "eyJzdWIiOiIxMjM0NSJ9", "c2lnbmF0dXJl"].join(".");
        for (text, secret) in [
            (format!("id {}{} seen", "AKIA", "IOSFODNN7EXAMPLE"), "IOSFODNN7EXAMPLE"),
            ("aws_secret_access_key = wJalrXUtnFEMI/K7MDENG".to_owned(), "wJalrXUtnFEMI"),
            ("{\"SecretAccessKey\": \"wJalrXUtnFEMI/K7MDENG\"}".to_owned(), "wJalrXUtnFEMI"),
            ("{\\\"SessionToken\\\":\\\"IQoJb3JpZ2lu\\\"}".to_owned(), "IQoJb3JpZ2lu"),
            ("AWS_SESSION_TOKEN=IQoJb3JpZ2luX2Vj".to_owned(), "IQoJb3JpZ2lu"),
            ("Authorization: Basic dXNlcjpodW50ZXIy\r\n".to_owned(), "dXNlcjpodW50ZXIy"),
            ("> authorization: AWS4-HMAC-SHA256 Credential=x/y, Signature=fe5f80".to_owned(), "fe5f80"),
            ("curl -H 'Proxy-Authorization: abc'".to_owned(), "abc"),
            (format!("got Bearer {jwt}"), &jwt),
            (format!("jwt {jwt}"), &jwt),
            ("podman login --password hunter22 host".to_owned(), "hunter22"),
            ("password: hunter22".to_owned(), "hunter22"),
            ("https://user:hunter2@host/path".to_owned(), "hunter2"),
            ("{\"auths\":{\"host\":{\"auth\":\"dXNlcjpodW50ZXIy\"}}}".to_owned(), "dXNlcjpodW50ZXIy"),
            (format!("ghp{}", "_abcdefghijklmnopqrstuvwxyz0123"), "abcdefghijklmnop"),
            ("user-data: I2Nsb3VkLWNvbmZpZwo=".to_owned(), "I2Nsb3Vk"),
            ("#cloud-config\nssh_keys:\n  ed25519_private: x1y2z3\n\nafter".to_owned(), "x1y2z3"),
            (key("OPENSSH ", false), "b3BlbnNz"),
            (key("RSA ", true), "b3BlbnNz"),
            (key("", false).replace('\n', "\n[   1.2] cloud-init: "), "b3BlbnNz"),
        ] {
            let seen = clean(&text);
            assert!(!seen.contains(secret) && seen.contains(REDACTED), "{text:?} became {seen:?}");
        }
        assert!(clean("#cloud-config\na: b\n\nafter").ends_with("after"));
        assert_eq!(clean("https://user:hunter2@host/path"), "https://user:[redacted]@host/path");
    }

    #[test]
    fn evidence_without_secrets_stays_unchanged() {
        for text in [
            "token b93c7261-5a8f-4bc7-9569-548a109e88cf",
            "sha256:7e2257e62e131ffa53483dc27af8e50e62af85f813c31543d3ffbf840f3ae29b",
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ7 root@nano",
            "WWW-Authenticate: Bearer realm=\"https://host/token\",service=\"host\"",
            "http://127.0.0.1:5000/v2/",
            "systemd[1]: Started Forward Password Requests to Wall.",
            "error: authentication required, no token",
        ] {
            assert_eq!(clean(text), text);
        }
    }

    #[test]
    fn json_stays_valid_and_values_are_redacted_by_their_names() {
        let redactor = Redactor::default();
        let value = json!({ "password": "x", "MESSAGE": "password=hunter22\" and more", "token": "", "n": 1 });
        let seen = redactor.json(value);
        assert_eq!(seen["password"], REDACTED);
        assert_eq!(seen["MESSAGE"], format!("password={REDACTED}\" and more"));
        assert_eq!((&seen["token"], &seen["n"]), (&json!(""), &json!(1)));
        let lines = b"{\"MESSAGE\":\"password: hunter22\\\\n\\\"\"}\n{\"a\":1}\n";
        let file = redactor.file("trials/x.journal.jsonl", lines);
        let text = String::from_utf8(file.into_owned()).unwrap();
        assert!(
            !text.contains("hunter22") && text.lines().all(|line| serde_json::from_str::<Json>(line).is_ok()),
            "{text}"
        );
        assert_eq!(redactor.file("x.log", b"\xff\xfe").as_ref(), b"\xff\xfe", "what is not text stays to the byte");
    }

    #[test]
    fn words_and_variables_of_commands_are_known_by_the_word_before() {
        let redactor = Redactor::default();
        let words = ["podman", "login", "--password", "abc", "--username", "me"].map(str::to_owned);
        assert_eq!(redactor.words(&words)[3..], [REDACTED, "--username", "me"]);
        let variables = [("AWS_SECRET_ACCESS_KEY", "x"), ("HOME", "/root"), ("REGISTRY_TOKEN_FILE", "/run/t")];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let seen = redactor.variables(&variables);
        assert_eq!(seen, ["AWS_SECRET_ACCESS_KEY=[redacted]", "HOME=/root", "REGISTRY_TOKEN_FILE=/run/t"]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn no_known_secret_is_left_anywhere_and_nothing_else_is_changed(
            secrets in prop::collection::vec(r#"[A-Za-z0-9!"\\/%&+=\u{e4}-]{8,20}"#, 1..4),
            parts in prop::collection::vec(("[a-z \u{e4}\n]{0,6}", any::<prop::sample::Index>(), 0_usize..4), 0..6),
        ) {
            let mut redactor = Redactor::default();
            secrets.iter().for_each(|secret| redactor.hide(secret));
            let all: Vec<String> = secrets.iter().flat_map(|secret| forms(secret)).collect();
            let (mut text, mut expected) = (String::new(), String::new());
            for (around, which, form) in &parts {
                text += &format!("{around} {} ", forms(&secrets[which.index(secrets.len())])[*form]);
                expected += &format!("{around} {REDACTED} ");
            }
            prop_assert_eq!(redactor.text(&text), expected.as_str());
            let value = json!({ "key": [&text, 1, null], text.as_str(): { "inner": &text } });
            let words = [text.clone(), "--password".to_owned(), text.clone()];
            let file = redactor.file("x.jsonl", format!("{value}\n{text}\n").as_bytes()).into_owned();
            for seen in [
                redactor.json(value).to_string(),
                String::from_utf8(file).unwrap(),
                redactor.words(&words).join(" "),
                redactor.variables(&[(text.clone(), text.clone())]).concat(),
            ] {
                prop_assert!(all.iter().all(|form| !seen.contains(form.as_str())), "{seen}");
            }
        }
    }
}
