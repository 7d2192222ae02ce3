//! Checks that the pages for people are up to date: links have targets, commands exist, examples are valid.
//!
//! In: `README.md`, `docs`, the sources. Out: a failure for each link, command, flag, file or configuration that is
//! wrong or does not exist.
//! Laws: a block of code names its kind (`sh`, `toml`, `json`, `text`, `rust`); a page links to another page by a
//! reference, and the last lines of the page give the reference's file, so that `src/docs.rs` can give it another
//! target in the library.
#![cfg(feature = "cli")]
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test may panic: that is a failed test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use segno::config::file::{Flags, read};

const KINDS: [&str; 13] = [
    "sh",
    "yaml",
    "toml",
    "json",
    "text",
    "rust",
    "rust,no_run",
    "nginx",
    "caddy",
    "haproxy",
    "python",
    "typescript",
    "shellscript",
];

struct Page {
    name: String,
    text: String,
}

/// A block of code: its first line number, its kind and its text.
struct Block<'p> {
    line: usize,
    kind: &'p str,
    text: &'p str,
}

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn page(path: &Path) -> Page {
    let name = path.strip_prefix(top()).unwrap().display().to_string();
    Page { text: fs::read_to_string(path).unwrap_or_else(|why| panic!("{name}: {why}")), name }
}

/// The pages of the guide.
fn guide() -> Vec<Page> {
    let entries = fs::read_dir(top().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|end| end == "md")).collect();
    files.sort();
    files.iter().map(|path| page(path)).collect()
}

fn pages() -> Vec<Page> {
    let mut pages = guide();
    pages.push(page(&top().join("README.md")));
    pages
}

impl Page {
    fn blocks(&self) -> Vec<Block<'_>> {
        let (mut blocks, mut open, mut at) = (Vec::new(), None, 0);
        for (n, line) in self.text.split_inclusive('\n').enumerate() {
            if let Some(kind) = line.trim_end().strip_prefix("```") {
                open = match open.take() {
                    None => Some((n + 1, kind, at + line.len())),
                    Some((line, kind, start)) => {
                        blocks.push(Block { line, kind, text: &self.text[start..at] });
                        None
                    }
                };
            }
            at += line.len();
        }
        assert!(open.is_none(), "{}: a block of code does not end", self.name);
        blocks
    }

    /// The text without its blocks of code.
    fn prose(&self) -> String {
        self.text.split("\n```").step_by(2).collect::<Vec<_>>().join("\n")
    }

    /// The targets on disk of all links: those in the text, and those of the references.
    fn targets(&self) -> Vec<String> {
        let prose = self.prose();
        let inline = prose.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0.to_owned()));
        inline.chain(self.definitions().into_iter().map(|(_, target)| target)).collect()
    }

    /// The references and their targets.
    fn definitions(&self) -> Vec<(String, String)> {
        let read = |line: &str| line.strip_prefix('[')?.split_once("]: ").map(|(a, b)| (a.to_owned(), b.to_owned()));
        self.text.lines().filter_map(read).collect()
    }

    /// The lines of all shell blocks. A continued line is joined to the one before.
    fn commands(&self) -> Vec<String> {
        let scripts = self.blocks().into_iter().filter(|block| block.kind == "sh").map(|b| b.text.replace("\\\n", " "));
        scripts.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect()
    }
}

/// The words of a command, without environment variables before it, up to a comment or a pipe.
fn words(command: &str) -> Vec<&str> {
    let words = command.split_whitespace().take_while(|word| !["#", "|", "&&"].contains(word));
    words
        .skip_while(|word| {
            word.split_once('=').is_some_and(|(name, _)| name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_'))
        })
        .collect()
}

/// The help of a subcommand of the program; `None` if there is no such subcommand.
fn help(subcommand: &str) -> Option<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_segno")).args([subcommand, "--help"]).output().unwrap();
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
}

#[test]
fn every_block_says_what_it_is() {
    for page in pages() {
        for block in page.blocks() {
            assert!(KINDS.contains(&block.kind), "{}:{}: a block of `{}`", page.name, block.line, block.kind);
        }
    }
}

#[test]
fn every_link_has_a_file_as_its_target() {
    for page in pages() {
        let folder = top().join(&page.name).parent().unwrap().to_owned();
        for target in page.targets().iter().filter(|target| !target.starts_with("https://")) {
            assert!(folder.join(target).is_file(), "{}: there is no `{target}`", page.name);
        }
    }
}

#[test]
fn pages_of_the_guide_link_to_each_other_by_references_that_the_library_knows() {
    let list = fs::read_to_string(top().join("src/docs.rs")).unwrap();
    for page in guide() {
        assert!(!page.prose().contains(".md)"), "{}: write `[page]`, and `[page]: page.md` at its end", page.name);
        for (name, target) in page.definitions().iter().filter(|(_, target)| target.ends_with(".md")) {
            let module = name.replace(' ', "_");
            assert!(list.contains(&format!("\"[{name}]: crate::docs::{module}\"")), "src/docs.rs: no [{name}]");
            assert!(list.contains(&format!("page!({module}, \"{target}\")")), "src/docs.rs: [{name}] is not {target}");
        }
    }
}

#[test]
fn every_reference_has_a_target_on_disk() {
    let list = fs::read_to_string(top().join("src/docs.rs")).unwrap();
    let known: Vec<&str> =
        list.lines().filter_map(|line| Some(line.split_once("\"[")?.1.split_once("]: ")?.0)).collect();
    assert!(known.len() > 10, "{known:?}");
    for page in guide() {
        let (prose, own) = (page.prose(), page.definitions());
        for name in known.iter().filter(|name| prose.contains(&format!("[{name}]"))) {
            assert!(own.iter().any(|(defined, _)| defined == name), "{}: add `[{name}]: FILE.md`", page.name);
        }
    }
}

#[test]
fn every_page_is_in_the_library_and_in_the_package() {
    let list = fs::read_to_string(top().join("src/docs.rs")).unwrap();
    for page in guide() {
        let file = page.name.strip_prefix("docs/").unwrap();
        assert!(list.contains(&format!("\"{file}\")")), "src/docs.rs has no page for docs/{file}");
    }
    let manifest = fs::read_to_string(top().join("Cargo.toml")).unwrap();
    let left_out = manifest.lines().find(|line| line.starts_with("exclude")).unwrap_or_default();
    assert!(!left_out.contains("docs") && !manifest.contains("\ninclude ="), "the package needs `docs`");
}

#[test]
fn every_command_of_segno_exists_with_its_flags() {
    for page in pages() {
        for command in page.commands() {
            let words = words(&command);
            let behind = match words[..] {
                ["segno" | "target/release/segno", ref rest @ ..] => rest,
                ["cargo", ref rest @ ..] => {
                    rest.split(|word| *word == "--").nth(1).filter(|_| rest[0] == "run").unwrap_or_default()
                }
                _ => &[],
            };
            let Some((subcommand, arguments)) = behind.split_first() else { continue };
            let help = help(subcommand).unwrap_or_else(|| panic!("{}: no `segno {subcommand}`", page.name));
            for flag in arguments.iter().filter(|word| word.starts_with("--")) {
                let flag = flag.split('=').next().unwrap_or_default();
                let is_there = [" ", "\n", "[="].iter().any(|end| help.contains(&format!("{flag}{end}")));
                assert!(is_there, "{}: `{command}`", page.name);
            }
        }
    }
}

#[test]
fn every_script_test_and_bench_that_a_command_names_is_there() {
    for page in pages() {
        for command in page.commands() {
            let words = words(&command);
            let is_script = words.first().is_some_and(|word| word.contains('/') && !word.starts_with("target/"));
            assert!(!is_script || top().join(words[0]).is_file(), "{}: `{command}`", page.name);
            for pair in words.windows(2) {
                let (folder, name) = match pair {
                    ["--test", name] => ("tests", name),
                    ["--bench", name] => ("benches", name),
                    ["--example", name] => ("examples", name),
                    _ => continue,
                };
                let (file, main) = (top().join(folder).join(format!("{name}.rs")), top().join(folder).join(name));
                assert!(file.is_file() || main.join("main.rs").is_file(), "{}: `{command}`", page.name);
            }
        }
    }
}

#[test]
fn every_file_and_folder_that_is_named_is_there() {
    // Files that users have, and files that tools write.
    let others = ["fuzz/artifacts"];
    // Only the tests need it, and a package may lack it.
    let is_known = |name: &str| !name.starts_with("src/testing") || top().join("src/testing").exists();
    let folders = ["src/", "tests/", "benches/", "examples/", "docs/", "fuzz/", "loom-tests/", ".ci/"];
    for page in pages() {
        let prose = page.prose();
        let names = prose.split('`').skip(1).step_by(2).filter(|name| folders.iter().any(|f| name.starts_with(f)));
        for name in names.filter(|name| !others.contains(name) && is_known(name)) {
            assert!(top().join(name).exists(), "{}: no `{name}`", page.name);
        }
    }
}

#[test]
fn every_configuration_is_valid() {
    for page in pages() {
        for block in page.blocks().iter().filter(|block| block.kind == "toml") {
            let read = read(block.text, &Flags::default());
            assert!(read.is_ok(), "{}:{}: {read:#?}", page.name, block.line);
        }
    }
}

#[test]
fn every_json_is_valid() {
    for page in pages() {
        for block in page.blocks().iter().filter(|block| block.kind == "json") {
            let read: Result<serde_json::Value, _> = serde_json::from_str(block.text);
            assert!(read.is_ok(), "{}:{}: {read:?}", page.name, block.line);
        }
    }
}
