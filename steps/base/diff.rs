//! Shows a change of a text as a unified diff.

/// How many lines a diff shows before and after what changed.
const CONTEXT: usize = 3;

/// Returns the difference between two texts, as a unified diff between files of these names. It has one hunk, from the
/// first line that differs to the last.
pub fn unified([old, new]: [&str; 2], [old_name, new_name]: [&str; 2]) -> String {
    let lines = |text| str::split_inclusive(text, '\n').collect::<Vec<&str>>();
    let (old, new) = (lines(old), lines(new));
    let first = old.iter().zip(&new).take_while(|(old, new)| old == new).count();
    let last = old[first..].iter().rev().zip(new[first..].iter().rev()).take_while(|(old, new)| old == new).count();
    let before = first.saturating_sub(CONTEXT);
    let after = last.min(CONTEXT);
    let range = |lines: &[&str]| {
        let count = lines.len() - last + after - before;
        format!("{},{count}", if count == 0 { before } else { before + 1 })
    };
    let mut out = format!("--- {old_name}\n+++ {new_name}\n@@ -{} +{} @@\n", range(&old), range(&new));
    let mut add = |sign: char, lines: &[&str]| {
        for line in lines {
            let end = if line.ends_with('\n') { "" } else { "\n\\ No newline at end of file\n" };
            out += &format!("{sign}{line}{end}");
        }
    };
    add(' ', &old[before..first]);
    add('-', &old[first..old.len() - last]);
    add('+', &new[first..new.len() - last]);
    add(' ', &old[old.len() - last..old.len() - last + after]);
    out
}
