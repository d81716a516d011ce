//! Suggests the word that was meant.

/// Returns the known word that is most similar to another.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let likeness = |known: &&str| strsim::normalized_damerau_levenshtein(word, known);
    known.into_iter().max_by(|one, other| likeness(one).total_cmp(&likeness(other)))
}
