//! One file as the rules see it: its place in the tree, its text, and the names that it uses.
//!
//! In: a path and a text. Out: [`Source`], which answers by layer and by name, and [`Finding`], what a rule says.

use std::fmt;

use crate::reader::Reader;

#[derive(PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Finding {
    pub(crate) file: String,
    pub(crate) line: usize,
    pub(crate) wrong: String,
    pub(crate) fix: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}: {}\n    fix: {}", self.file, self.line, self.wrong, self.fix)
    }
}

/// One file, and what its tokens say.
#[derive(Clone)]
pub(crate) struct Source {
    /// Path from the top of the tree, with `/`.
    pub(crate) file: String,
    pub(crate) text: String,
    /// The module path of the file, empty for the roots.
    pub(crate) module: Vec<String>,
    pub(crate) names: Vec<Name>,
    pub(crate) includes: Vec<Include>,
    pub(crate) inline: Vec<Inline>,
}

/// One `mod name;` line.
#[derive(Clone)]
pub(crate) struct Include {
    /// The module from the crate root.
    pub(crate) module: Vec<String>,
    pub(crate) line: usize,
    /// The file, where `#[path = "…"]` names it.
    pub(crate) file: Option<String>,
    /// Tests compile it, and the plain library does not.
    pub(crate) tests: bool,
    /// Tests alone compile it: its own `cfg` holds no `any(…)`.
    pub(crate) tests_alone: bool,
}

/// One module written out in a file that only tests compile: `#[cfg(test)] mod tests { … }`.
#[derive(Clone)]
pub(crate) struct Inline {
    pub(crate) name: String,
    /// The lines of its `mod` and of its closing brace.
    pub(crate) first: usize,
    pub(crate) last: usize,
}

/// One name as written: a path `a::b::c`, in a `use` tree each leaf with its whole path.
#[derive(Clone)]
pub(crate) struct Name {
    pub(crate) path: Vec<String>,
    pub(crate) line: usize,
    /// It stands in code that only tests compile.
    pub(crate) in_tests: bool,
    /// A `!` follows: a macro.
    pub(crate) bang: bool,
    /// The modules written out in this file around the name.
    pub(crate) around: Vec<String>,
    /// What a `use` calls it here: the alias or the last word, `*` for a glob. `None` outside of `use` lines.
    pub(crate) imported_as: Option<String>,
    /// It only says who may see an item: `pub(in crate::a)`.
    pub(crate) visibility: bool,
}

impl Name {
    /// The path holds `part`, itself a path, in a row.
    pub(crate) fn has(&self, part: &str) -> bool {
        let part = words(part);
        self.path.windows(part.len()).any(|row| row == part)
    }
}

impl Source {
    pub(crate) fn new(file: &str, text: &str) -> Self {
        Self::of_module(file, text, module_of(file))
    }

    /// The file as the module that a `mod` line with a `#[path]` makes of it.
    fn of_module(file: &str, text: &str, module: Vec<String>) -> Self {
        let (file, text) = (file.to_owned(), text.to_owned());
        let mut source = Self { file, text, module, names: Vec::new(), includes: Vec::new(), inline: Vec::new() };
        if source.is_rust() {
            Reader::new(&source.module, &source.text).read(&mut source.names, &mut source.includes, &mut source.inline);
            let folder = source.file.rsplit_once('/').map_or("", |(folder, _)| folder);
            for file in source.includes.iter_mut().filter_map(|include| include.file.as_mut()) {
                *file = format!("{folder}/{file}");
            }
        }
        source
    }

    pub(crate) fn is_rust(&self) -> bool {
        self.file.ends_with(".rs")
    }

    pub(crate) fn in_src(&self) -> bool {
        self.file.starts_with("src/")
    }

    pub(crate) fn is_binary(&self) -> bool {
        self.file == "src/main.rs" || self.file.starts_with("src/bin/")
    }

    /// The layer that the file belongs to; none for the roots and for what lies outside of `src`.
    pub(crate) fn layer(&self) -> Option<&str> {
        if self.in_src() && !self.is_binary() { self.module.first().map(String::as_str) } else { None }
    }

    /// The path from the crate root that `name` reaches, if it is written with `crate`, `self` or `super`.
    pub(crate) fn reached_by(&self, name: &Name) -> Option<Vec<String>> {
        if name.path.len() < 2 {
            return None;
        }
        let mut at: Vec<String> = self.module.iter().chain(&name.around).cloned().collect();
        let mut rest = name.path.as_slice();
        match rest[0].as_str() {
            "crate" => at.clear(),
            "self" | "super" => {}
            _ => return None,
        }
        while let Some(word) = rest.first().filter(|word| ["crate", "self", "super"].contains(&word.as_str())) {
            if word == "super" {
                at.pop();
            }
            rest = &rest[1..];
        }
        at.extend_from_slice(rest);
        Some(at)
    }

    /// Whether `include` means this file.
    pub(crate) fn is_meant_by(&self, include: &Include) -> bool {
        match &include.file {
            Some(file) => *file == self.file,
            None => include.module == module_of(&self.file),
        }
    }

    pub(crate) fn each(&self, wanted: impl Fn(&Name) -> bool) -> Vec<&Name> {
        self.names.iter().filter(|name| wanted(name)).collect()
    }

    pub(crate) fn report(&self, names: Vec<&Name>, wrong: impl Fn(&str) -> String, fix: &str) -> Vec<Finding> {
        names.into_iter().map(|name| self.finding(name.line, wrong(&name.path.join("::")), fix)).collect()
    }

    pub(crate) fn finding(&self, line: usize, wrong: String, fix: &str) -> Finding {
        Finding { file: self.file.clone(), line, wrong, fix: fix.to_owned() }
    }
}

/// Gives each file the module that the `mod` line with its `#[path]` says, and marks the files that only tests compile.
pub(crate) fn settle(sources: &mut [Source]) {
    let all = sources.iter().filter(|source| source.in_src());
    let includes: Vec<Include> = all.flat_map(|source| source.includes.iter().cloned()).collect();
    for source in sources.iter_mut().filter(|source| source.in_src()) {
        if let Some(include) = includes.iter().find(|include| include.file.is_some() && source.is_meant_by(include)) {
            *source = Source::of_module(&source.file, &source.text, include.module.clone());
        }
        if includes.iter().any(|include| include.tests && source.module.starts_with(&include.module)) {
            source.names.iter_mut().for_each(|name| name.in_tests = true);
        }
    }
}

pub(crate) fn words(path: &str) -> Vec<String> {
    path.split("::").map(str::to_owned).collect()
}

/// `src/sse/scanner.rs` is `sse::scanner`, `src/sse/mod.rs` is `sse`, a root is nothing.
fn module_of(file: &str) -> Vec<String> {
    let path = file.trim_start_matches("src/").trim_end_matches(".rs");
    let mut module: Vec<String> = path.split('/').map(str::to_owned).collect();
    if module.last().is_some_and(|last| last == "mod") || ["lib", "main"].contains(&path) {
        module.pop();
    }
    module
}
