//! Links to files of the run, only if they exist and have harmless names.

use maud::{Markup, html};

use super::words::plain;
use crate::evidence::bundle::{Excerpt, SandboxedDir};

/// How much of a name is shown, in characters.
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
}
