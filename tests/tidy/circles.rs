//! The rule that no two files of one layer use each other, directly or through others.
//!
//! In: every [`Source`]. Out: for each circle a finding with the shortest way around, and the names that make each
//! step.
//! Laws: tests do not count, neither does `mod x;` nor `pub(in …)`. A name that a module only passes on with a `use`
//! counts for the file that defines it, through chains and globs.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::reader::tokens;
use crate::source::{Finding, Name, Source};

/// The words that stand before the name of an item.
const ITEM_WORDS: &[&str] = &["struct", "enum", "union", "trait", "type", "fn", "const", "static", "mod"];
/// How many `use` lines are followed for one name.
const MAX_CHAIN: usize = 16;
/// How many names a finding tells for one step.
const MAX_TOLD: usize = 4;

/// From one file to another: the line of the first name, and the names.
#[derive(Default)]
struct Step {
    line: usize,
    names: BTreeSet<String>,
}

/// The files of `src`, by module, and what each one defines.
struct Files<'a> {
    by_module: BTreeMap<&'a [String], &'a Source>,
    defined: BTreeMap<&'a [String], BTreeSet<&'a str>>,
}

/// The steps between files, keyed by module.
type Steps<'a> = BTreeMap<&'a [String], BTreeMap<&'a [String], Step>>;

pub(crate) fn no_circle_of_files(sources: &[Source]) -> Vec<Finding> {
    let files = Files::new(sources);
    let steps = files.steps();
    let mut circles: BTreeSet<Vec<&[String]>> = BTreeSet::new();
    for start in steps.keys() {
        circles.extend(shortest_circle(&steps, start).map(least_first));
    }
    circles.iter().map(|circle| report(&files, &steps, circle)).collect()
}

fn report(files: &Files<'_>, steps: &Steps<'_>, circle: &[&[String]]) -> Finding {
    let first = files.by_module[circle[0]];
    let mut told = first.file.clone();
    for (at, from) in circle.iter().enumerate() {
        let to = circle[(at + 1) % circle.len()];
        let step = &steps[from][to];
        let names: Vec<&str> = step.names.iter().map(String::as_str).take(MAX_TOLD).collect();
        told.push_str(&format!(" -> {} ({})", files.by_module[to].file, names.join(", ")));
    }
    let second = circle[1 % circle.len()];
    let fix = "move the shared names to a file that both use, or pass the value in";
    first.finding(steps[circle[0]][second].line, format!("a circle of files: {told}"), fix)
}

impl<'a> Files<'a> {
    fn new(sources: &'a [Source]) -> Self {
        let mut files = Self { by_module: BTreeMap::new(), defined: BTreeMap::new() };
        for source in sources.iter().filter(|source| source.layer().is_some() && source.is_rust()) {
            let tokens = tokens(&source.text);
            let items = tokens.windows(2).filter(|two| ITEM_WORDS.contains(&two[0].0)).map(|two| two[1].0);
            let macros = tokens.windows(3).filter(|three| three[0].0 == "macro_rules").map(|three| three[2].0);
            files.defined.insert(source.module.as_slice(), items.chain(macros).collect());
            files.by_module.insert(source.module.as_slice(), source);
        }
        files
    }

    /// Every step between two files of one layer.
    fn steps(&self) -> Steps<'a> {
        let mut steps = Steps::new();
        for (from, source) in &self.by_module {
            for name in source.names.iter().filter(|name| !name.in_tests && !name.visibility) {
                let Some(path) = self.absolute(source, name) else { continue };
                let Some(to) = self.owner(path, MAX_CHAIN).filter(|to| to != from && to[0] == from[0]) else {
                    continue;
                };
                let step = steps.entry(*from).or_default().entry(to).or_default();
                if step.names.is_empty() {
                    step.line = name.line;
                }
                step.names.insert(name.path.join("::"));
            }
        }
        steps
    }

    /// The path from the crate root that `name` stands for: it begins with `crate`, `self`, `super` or a child module.
    fn absolute(&self, source: &Source, name: &Name) -> Option<Vec<String>> {
        let named = source.reached_by(name).or_else(|| {
            let child: Vec<String> = source.module.iter().chain(&name.around).chain(&name.path[..1]).cloned().collect();
            let is_child = self.by_module.contains_key(child.as_slice());
            (is_child && (name.path.len() > 1 || name.imported_as.is_some()))
                .then(|| source.module.iter().chain(&name.around).chain(&name.path).cloned().collect())
        });
        named.map(|mut path| {
            path.retain(|word| word != "self");
            path
        })
    }

    /// The module of the file that `path` leads to, through the `use` lines of the modules on its way.
    fn owner(&self, path: Vec<String>, chain: usize) -> Option<&'a [String]> {
        let longest = (1..=path.len()).rev().find(|len| self.by_module.contains_key(&path[..*len]))?;
        let (module, source) = self.by_module.get_key_value(&path[..longest])?;
        let Some(word) = path.get(longest).filter(|word| *word != "*") else { return Some(module) };
        if chain == 0 || self.defined[module].contains(word.as_str()) {
            return Some(module);
        }
        let uses = |wanted: &'static str| {
            source.names.iter().filter(move |name| name.imported_as.as_deref() == Some(wanted) && !name.in_tests)
        };
        let by_name = source.names.iter().filter(|name| !name.in_tests && name.around.is_empty());
        let passed_on = by_name.filter(|name| name.imported_as.as_ref() == Some(word));
        for name in passed_on {
            if let Some(next) = self.absolute(source, name).filter(|next| *next != path) {
                let rest = path[longest + 1..].iter().cloned();
                return self.owner(next.into_iter().chain(rest).collect(), chain - 1);
            }
        }
        for glob in uses("*") {
            let Some(mut inside) = self.absolute(source, glob) else { continue };
            inside.pop();
            let is_other = self.by_module.contains_key(inside.as_slice()) && inside != **module;
            inside.push(word.clone());
            if is_other
                && let Some(owner) = self.owner(inside, chain - 1)
                && self.defined[owner].contains(word.as_str())
            {
                return Some(owner);
            }
        }
        Some(module)
    }
}

/// The shortest way from `start` back to `start`, `start` first.
fn shortest_circle<'a>(steps: &Steps<'a>, start: &'a [String]) -> Option<Vec<&'a [String]>> {
    let mut came_from: BTreeMap<&[String], &[String]> = BTreeMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(here) = queue.pop_front() {
        for next in steps.get(here).into_iter().flat_map(|row| row.keys()) {
            if *next == start {
                let mut back: Vec<&[String]> =
                    std::iter::successors(Some(here), |at| came_from.get(at).copied()).collect();
                back.reverse();
                return Some(back);
            }
            if !came_from.contains_key(next) {
                came_from.insert(next, here);
                queue.push_back(next);
            }
        }
    }
    None
}

/// The same circle, told from its least module on, so that it is told once.
fn least_first(mut circle: Vec<&[String]>) -> Vec<&[String]> {
    let least = circle.iter().enumerate().min_by_key(|(_, module)| **module).map_or(0, |(at, _)| at);
    circle.rotate_left(least);
    circle
}
