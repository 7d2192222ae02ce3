//! The rules on where tests stand: one way, so that nobody has to search.
//!
//! In: a [`Source`]. Out: findings.
//! Laws: tests of a file `x.rs` are an inline `mod tests { … }` of at most [`MAX_INLINE`] lines, else `x/tests.rs` or
//! the folder `x/tests/`. What only tests compile lies inside of a `tests` module.

use crate::TEST_ONLY;
use crate::source::{Finding, Include, Source};

/// The longest inline `mod tests`, in lines, its `mod` line and its closing brace included.
pub(crate) const MAX_INLINE: usize = 60;

/// A `#[path]` in `src` hides where a module lies.
pub(crate) fn no_paths_beside_the_code(source: &Source) -> Vec<Finding> {
    let includes = source.includes.iter().filter(|include| source.in_src() && include.file.is_some());
    let finding = |include: &Include| {
        let file = include.file.as_deref().unwrap_or_default();
        let wrong = format!("`#[path]` takes `{}` from {file}", include.module.join("::"));
        let fix = format!("move the file to src/{}.rs, and take the `#[path]` away", include.module.join("/"));
        source.finding(include.line, wrong, &fix)
    };
    includes.map(finding).collect()
}

/// `#[cfg(test)] mod x;` is `mod tests;`, or stands inside of one.
pub(crate) fn test_modules_are_called_tests(source: &Source) -> Vec<Finding> {
    if !source.in_src() {
        return Vec::new();
    }
    let misnamed = |module: &[String]| module[0] != TEST_ONLY && !module.iter().any(|word| word == "tests");
    let finding = |line: usize, module: &[String]| {
        let wrong = format!("only tests compile `{}`, and its name does not say so", module.join("::"));
        let parent = module[..module.len() - 1].join("/");
        let last = &module[module.len() - 1];
        let fix = format!(
            "tests of a file `x.rs` go to `x/tests.rs`; helpers of tests go inside: src/{parent}/tests/{last}.rs"
        );
        source.finding(line, wrong, &fix)
    };
    let files = source.includes.iter().filter(|i| i.tests_alone && misnamed(&i.module));
    let mut findings: Vec<Finding> = files.map(|include| finding(include.line, &include.module)).collect();
    for inline in &source.inline {
        let module = [source.module.as_slice(), std::slice::from_ref(&inline.name)].concat();
        if misnamed(&module) {
            findings.push(finding(inline.first, &module));
        }
    }
    findings
}

/// Long tests between the code and its reader have a file of their own.
pub(crate) fn long_tests_have_a_file(source: &Source) -> Vec<Finding> {
    let lines = |first: usize, last: usize| last - first + 1;
    let long = source.inline.iter().filter(|i| source.in_src() && lines(i.first, i.last) > MAX_INLINE);
    let fix = format!("move it to src/{}/tests.rs, and write `#[cfg(test)] mod tests;`", source.module.join("/"));
    long.map(|inline| {
        let count = lines(inline.first, inline.last);
        let wrong = format!("an inline `mod {}` of {count} lines, and {MAX_INLINE} is the bound", inline.name);
        source.finding(inline.first, wrong, &fix)
    })
    .collect()
}
