//! Provides links to files of the run, only if they exist and have harmless names; and limits the size of a part of the
//! page: what does not fit is left out, and the page says so.

use maud::{Markup, html};

use super::words::plain;
use crate::evidence::bundle::{Excerpt, SandboxedDir};

/// How much of a file's name is shown, in characters.
const NAME: usize = 160;

/// Shows the name of a file: as a link if it is a plain file of the folder, otherwise as text.
pub(super) fn file(folder: &SandboxedDir, name: &str) -> Markup {
    let shown = plain(name, NAME);
    let is_link = name.len() <= NAME && is_harmless(name) && folder.file(name).is_ok();
    html! { @if is_link { a href=(name) { (shown) } } @else { code { (shown) } " (no file of this run)" } }
}

/// Returns whether a name has only letters without a special meaning in an address.
pub(super) fn is_harmless(name: &str) -> bool {
    name.chars().all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '-' | '_' | '/'))
}

/// Shows the beginning and the end of a file, each no longer than this many characters.
pub(super) fn ends(excerpt: &Excerpt, most: usize) -> Markup {
    html! { pre { (plain(&excerpt.head, most)) @if let Some(tail) = &excerpt.tail { "\n…\n" (plain(tail, most)) } } }
}

pub(super) fn files<'a>(folder: &SandboxedDir, names: impl Iterator<Item = &'a str>, most: usize) -> Markup {
    let mut seen: Vec<&str> = Vec::new();
    for name in names {
        if !seen.contains(&name) && seen.len() <= most {
            seen.push(name);
        }
    }
    html! {
        ul.files {
            @for name in seen.iter().take(most) { li { (file(folder, name)) } }
            @if seen.len() > most { li { "… and more: " code { "verdicts.json" } " names them all" } }
        }
    }
}

/// The bytes that a part may still take, and what did not fit.
#[derive(Debug)]
pub(super) struct ByteBudget {
    left: usize,
    omitted: Vec<String>,
}

impl ByteBudget {
    pub(super) fn of(bytes: usize) -> ByteBudget {
        ByteBudget { left: bytes, omitted: Vec::new() }
    }

    /// Takes a piece if it fits; otherwise notes its name.
    pub(super) fn admit(&mut self, name: &str, piece: Markup) -> Markup {
        if let Some(left) = self.left.checked_sub(piece.0.len()) {
            self.left = left;
            return piece;
        }
        if !self.omitted.iter().any(|known| known == name) {
            self.omitted.push(name.to_owned());
        }
        html! {}
    }

    pub(super) fn omissions(&self) -> Markup {
        html! { @if !self.omitted.is_empty() { (omitted(&self.omitted.join(", "))) } }
    }
}

pub(super) fn omitted(what: &str) -> Markup {
    html! {
        p.omitted {
            "Left out, so that this page stays small: " (what)
            ". All of it is in verdicts.json, samples.jsonl and transcript.jsonl."
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_file_of_the_run_becomes_a_link() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("trials")).unwrap();
        for name in ["trials/a-1.txt", "javascript:alert(1)", "a b", "x\"y"] {
            std::fs::write(folder.path().join(name), "x").unwrap();
        }
        let open = SandboxedDir::open(folder.path()).unwrap();
        let shown = |name: &str| file(&open, name).into_string();
        assert_eq!(shown("trials/a-1.txt"), "<a href=\"trials/a-1.txt\">trials/a-1.txt</a>");
        for name in ["javascript:alert(1)", "../../etc/passwd", "/etc/passwd", "none", "trials", "a b", "x\"y", ""] {
            assert!(!shown(name).contains("href"), "{name}: {}", shown(name));
        }
        assert!(shown("x\"><script>").contains("&lt;script&gt;"));
    }

    #[test]
    fn what_does_not_fit_is_left_out_and_named_once() {
        let mut budget = ByteBudget::of(10);
        assert_eq!(budget.admit("a", html! { "12345" }).into_string(), "12345");
        assert_eq!(budget.admit("plots", html! { "123456" }).into_string(), "");
        assert_eq!(budget.admit("plots", html! { "123456" }).into_string(), "");
        assert_eq!(budget.admit("a", html! { "12345" }).into_string(), "12345");
        assert!(budget.omissions().into_string().contains("stays small: plots. All of it"));
        assert_eq!(ByteBudget::of(0).omissions().into_string(), "");
    }
}
