//! Limits the size of a part of the page: what does not fit is left out, and the page says so.

use maud::{Markup, html};

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
