//! Reads the annex's own text, which the user names: its command blocks by section, what it shows as their output, and
//! the files that it has its readers write.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::base::digest::sha256;

/// The text of an annex, as Markdown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnnexText {
    pub path: PathBuf,
    pub sha256: String,
    /// The blocks of commands, in order.
    pub blocks: Vec<Block>,
    /// The files that readers write themselves, in order.
    pub files: Vec<WrittenFile>,
}

/// A block of commands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Its section and its number there: `6.3` is the third block of section A.6.
    pub name: String,
    pub line: usize,
    pub text: String,
    /// The lines that the annex shows as its output.
    pub shown: Vec<String>,
}

/// A block that is a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenFile {
    pub name: &'static str,
    pub line: usize,
    pub text: String,
}

/// The files that a block in this language is.
const FILES: [(&str, &str); 2] = [("dockerfile", "Containerfile"), ("rust", PROGRAM)];
const PROGRAM: &str = "src/main.rs";

/// What begins a comment that announces output.
const LABELS: [&str; 3] = ["output", "actual output", "should show"];

impl AnnexText {
    pub fn read(path: &Path) -> anyhow::Result<AnnexText> {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read the annex {}", path.display()))?;
        let annex = AnnexText::parse(path, &text);
        anyhow::ensure!(
            !annex.blocks.is_empty(),
            "{} has no block of commands (```bash) below a heading such as \"### A.6 …\": name the annex's own text",
            path.display()
        );
        Ok(annex)
    }

    fn parse(path: &Path, text: &str) -> AnnexText {
        let (path, sha256) = (path.to_owned(), sha256(text.as_bytes()));
        let mut annex = AnnexText { path, sha256, blocks: Vec::new(), files: Vec::new() };
        let (mut section, mut number, mut before) = (0, 0, "");
        let all = fences(text);
        for fence in &all {
            if fence.section != section {
                (section, number, before) = (fence.section, 0, "");
            }
            match fence.language {
                _ if section == 0 => {}
                "bash" => {
                    number += 1;
                    let (name, text) = (format!("{section}.{number}"), fence.lines.join("\n") + "\n");
                    annex.blocks.push(Block { name, line: fence.line, shown: shown(&fence.lines), text });
                }
                // Output that stands below its commands.
                "" if before == "bash" => {
                    let shown = fence.lines.iter().map(|line| (*line).to_owned());
                    annex.blocks.last_mut().into_iter().for_each(|block| block.shown.extend(shown.clone()));
                }
                language => {
                    let file = FILES.iter().find(|(own, _)| *own == language);
                    let text = fence.lines.join("\n") + "\n";
                    annex.files.extend(file.map(|(_, name)| WrittenFile { name, line: fence.line, text }));
                }
            }
            before = fence.language;
        }
        annex
    }

    pub fn block(&self, name: &str) -> anyhow::Result<&Block> {
        let found = self.blocks.iter().find(|block| block.name == name);
        found.with_context(|| format!("{} has no block of commands {name}", self.path.display()))
    }

    /// Returns the name of the image that its Quadlet runs.
    pub fn image(&self) -> anyhow::Result<&str> {
        let lines = self.blocks.iter().flat_map(|block| block.text.lines());
        let image = lines.into_iter().find_map(|line| line.strip_prefix("Image=")).map(str::trim);
        image.with_context(|| format!("{} has no Quadlet with Image=", self.path.display()))
    }

    /// Returns the source of the program that it prints.
    pub fn program(&self) -> anyhow::Result<&str> {
        let file = self.files.iter().find(|file| file.name == PROGRAM);
        file.map(|file| file.text.as_str())
            .with_context(|| format!("{} has no block with a program (```rust)", self.path.display()))
    }
}

impl WrittenFile {
    /// Returns the path of the module that it copies into the image, if it is a Containerfile.
    pub fn module(&self) -> Option<&str> {
        let copied = self.text.lines().find_map(|line| line.strip_prefix("COPY "))?;
        copied.split_whitespace().next().filter(|path| path.ends_with(".wasm"))
    }
}

impl Block {
    /// Returns the commands, line by line, without the comments between them.
    pub fn commands(&self) -> impl Iterator<Item = &str> {
        let mut document = HereDocument::default();
        self.text.lines().filter(move |line| document.contains(line) || !line.starts_with('#'))
    }

    /// Returns what its reader has to fill in: words such as `YOUR_KEY` and `i-XXXXXXXX`.
    pub fn placeholder(&self) -> Option<&str> {
        let words =
            self.commands().flat_map(|line| line.split(|c: char| !(c.is_ascii_alphanumeric() || "_-".contains(c))));
        words.into_iter().find(|word| word.starts_with("YOUR_") || word.contains("XXXX"))
    }

    /// Returns the same block with an option that its first command with options does not have.
    pub fn with_wrong_flag(&self) -> Option<Block> {
        let line = self.commands().find(|line| line.contains(" -"))?;
        let wrong = line.replacen(" -", " --no-such-option -", 1);
        Some(Block { text: self.text.replacen(line, &wrong, 1), ..self.clone() })
    }
}

/// A fenced block of Markdown.
struct Fence<'a> {
    /// The section of the annex that it stands in; 0 if none.
    section: u8,
    language: &'a str,
    line: usize,
    lines: Vec<&'a str>,
}

/// Returns the fenced blocks of a text. One that does not end goes on to the end of the text, as Markdown has it.
fn fences(text: &str) -> Vec<Fence<'_>> {
    let (mut all, mut section, mut open): (Vec<Fence>, u8, Option<usize>) = (Vec::new(), 0, None);
    for (index, line) in text.lines().enumerate() {
        let mark = line.trim().chars().take_while(|c| *c == '`').count();
        let info = line.trim().get(mark..).unwrap_or_default();
        if let (Some(opened), Some(fence)) = (open, all.last_mut()) {
            match mark >= opened && info.is_empty() {
                true => open = None,
                false => fence.lines.push(line),
            }
        } else if mark >= 3 && !info.contains('`') {
            let language = info.split_whitespace().next().unwrap_or_default();
            all.push(Fence { section, language, line: index + 1, lines: Vec::new() });
            open = Some(mark);
        } else {
            section = heading(line).unwrap_or(section);
        }
    }
    all
}

/// Returns the number of the section that a heading begins, such as 6 of `### A.6 Deploy`.
fn heading(line: &str) -> Option<u8> {
    let title = line.trim_start_matches('#').trim_start();
    let digits = title.strip_prefix("A.").filter(|_| line.starts_with('#'))?;
    digits.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Follows here-documents, whose lines are neither commands nor comments.
#[derive(Default)]
struct HereDocument {
    ends_with: Option<String>,
}

impl HereDocument {
    /// Returns whether the next line belongs to a here-document.
    fn contains(&mut self, line: &str) -> bool {
        if let Some(end) = &self.ends_with {
            if line.trim() == end {
                self.ends_with = None;
            }
            return true;
        }
        let word = line.split_once("<<").map(|(_, rest)| rest.trim_start_matches(['-', ' ', '\'', '"']));
        let word = word.filter(|word| !word.starts_with('<') && !line.starts_with('#'));
        let word = word.and_then(|word| word.split(|c: char| !(c.is_alphanumeric() || c == '_')).next());
        self.ends_with = word.filter(|word| word.starts_with(char::is_alphabetic)).map(str::to_owned);
        false
    }
}

/// Returns the lines that comments show as output: those below a label, up to the next line that is not a comment.
fn shown(lines: &[&str]) -> Vec<String> {
    let (mut shown, mut labelled, mut document) = (Vec::new(), false, HereDocument::default());
    for line in lines {
        let inside = document.contains(line);
        let comment = line.strip_prefix('#').filter(|_| !inside).map(str::trim);
        match comment.map(|comment| (comment, output_in(comment))) {
            None => labelled = false,
            Some((_, Some(output))) => {
                labelled = true;
                shown.extend((!output.is_empty()).then(|| output.to_owned()));
            }
            // A remark on a line of the output stands behind it.
            Some((comment, None)) if labelled => {
                shown.push(comment.split_once("  #").map_or(comment, |(output, _)| output.trim_end()).to_owned());
            }
            Some(_) => {}
        }
    }
    shown
}

/// Returns what a comment shows itself, if it announces output: `Output: 85K`, or nothing if it ends with a colon.
fn output_in(comment: &str) -> Option<&str> {
    let lower = comment.to_lowercase();
    let announces = LABELS.iter().any(|label| lower.starts_with(label));
    match comment.ends_with(':') {
        true => (announces || lower.starts_with("actual")).then_some(""),
        false => comment.split_once(':').filter(|_| announces).map(|(_, output)| output.trim()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIKE: &str = include_str!("../../fixtures/annex/like.md");

    fn like() -> AnnexText {
        AnnexText::parse(Path::new("like.md"), LIKE)
    }

    #[test]
    fn blocks_are_numbered_by_section_and_have_their_line() {
        let blocks: Vec<_> = like().blocks.into_iter().map(|block| (block.name, block.line)).collect();
        let at = |text: &str| LIKE.lines().position(|line| line == text).unwrap();
        let places = [
            ("2.1", "mkdir -p grinder && cd grinder"),
            ("2.2", "# Grind"),
            ("3.1", "podman build --tag localhost/grinder:2.0 ."),
            ("5.1", "aws ec2 start-instances --instance-ids i-XXXXXXXX --key YOUR_KEY"),
            ("6.1", "cat << 'END' > grinder.container"),
            ("6.2", "# Watch it"),
            ("7.1", "df -h"),
        ];
        assert_eq!(blocks, places.map(|(name, first)| (name.to_owned(), at(first))));
    }

    #[test]
    fn comments_with_a_label_and_the_block_below_show_output() {
        let annex = like();
        let shown = |name: &str| annex.block(name).unwrap().shown.join("\n");
        assert_eq!(shown("2.1"), "");
        assert_eq!(shown("2.2"), "12K");
        assert_eq!(shown("3.1"), "STEP 1/2: FROM scratch\n...\nSuccessfully tagged localhost/grinder:2.0");
        assert_eq!(shown("6.1"), "", "a here-document has no comments");
        assert_eq!(shown("6.2"), "Mar 01 10:00:00 mill grinder[77]: ground 3 beans");
        assert_eq!(
            shown("7.1"),
            "Filesystem Size\n/dev/sda1 10G",
            "without the remark behind it, and without what is typical"
        );
    }

    #[test]
    fn files_and_the_name_of_the_image_are_found() {
        let annex = like();
        let files: Vec<_> = annex.files.iter().map(|file| (file.name, file.module())).collect();
        assert_eq!(
            files,
            [("src/main.rs", None), ("Containerfile", Some("target/wasm32-wasip1/release/grinder.wasm"))]
        );
        assert!(annex.program().unwrap().starts_with("fn main() {"));
        assert_eq!(annex.image().unwrap(), "registry.example.org/mill/grinder:2.0");
        assert_eq!(annex.sha256, sha256(LIKE.as_bytes()));
    }

    #[test]
    fn what_a_reader_fills_in_is_found_in_commands_alone() {
        let annex = like();
        let placeholder = |name: &str| annex.block(name).unwrap().placeholder().map(str::to_owned);
        assert_eq!(placeholder("5.1"), Some("i-XXXXXXXX".to_owned()));
        assert_eq!(placeholder("7.1"), None, "its comment has one");
    }

    #[test]
    fn a_wrong_flag_changes_the_first_command_that_has_options() {
        let block = like().block("7.1").unwrap().clone();
        assert_eq!(block.with_wrong_flag().unwrap().commands().next(), Some("df --no-such-option -h"));
        assert_eq!(
            like().block("2.2").unwrap().with_wrong_flag().unwrap().commands().next(),
            Some("ls --no-such-option -lh beans")
        );
        let none = Block { text: "# rm -f x\ntrue\n".to_owned(), ..block };
        assert_eq!(none.with_wrong_flag(), None);
    }

    #[test]
    fn a_text_without_blocks_is_not_an_annex() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(&file, "### A.6 Deploy\n\n~~~\nls\n~~~\n```bash\n```").unwrap();
        assert_eq!(AnnexText::read(file.path()).unwrap().blocks.len(), 1);
        fs::write(&file, "# Deploy\n```bash\nls\n```\n").unwrap();
        let error = AnnexText::read(file.path()).unwrap_err().to_string();
        assert!(error.contains("has no block of commands"), "{error}");
        assert!(like().block("6.9").unwrap_err().to_string().ends_with("has no block of commands 6.9"));
    }
}
