//! Each rule of `tidy` against a small bad example, so that it is known to bite, and a good one, so that it is known to
//! let go.

use crate::reader::tokens;
use crate::source::{Finding, Source, settle};
use crate::*;

/// The lines on which `rule` finds something in `text`, were it the file `file`.
fn lines(rule: fn(&Source) -> Vec<Finding>, file: &str, text: &str) -> Vec<usize> {
    rule(&Source::new(file, text)).iter().map(|finding| finding.line).collect()
}

#[test]
fn the_table_goes_down_only() {
    for (row, (layer, allowed)) in LAYERS.iter().enumerate() {
        let above: Vec<&str> = LAYERS[..row].iter().map(|(name, _)| *name).collect();
        let known = |name: &&str| *name == PUBLIC_API || above.contains(name);
        assert!(allowed.iter().all(known), "`{layer}` uses a row that is not above it");
    }
    let may = |layer: &str, other: &str| LAYERS.iter().any(|(name, row)| *name == layer && row.contains(&other));
    assert!(!may("reactor", "persist") && !may("persist", "reactor"), "the halves meet in the slots only");
}

#[test]
fn an_import_upwards_is_found_in_every_form() {
    let found = |file, text| lines(imports_go_down, file, text);
    assert_eq!(found("src/sse/scan.rs", "use crate::base::Tick;\nuse crate::http::Head;\n"), [2]);
    assert_eq!(
        found("src/sse/scan.rs", "use crate::{\n    base::{self, Tick},\n    http::{Head, Body as B},\n};\n"),
        [3, 3]
    );
    assert_eq!(found("src/sse/scan.rs", "fn f() -> u8 {\n    crate::track::n()\n}\n"), [2]);
    assert_eq!(found("src/sse/scan.rs", "use super::super::http::Head;\n"), [1]);
    assert_eq!(found("src/sse/scan.rs", "mod inner {\n    use super::super::super::http::Head;\n}\n"), [2]);
    assert_eq!(found("src/clock.rs", "use super::http::Head;\n"), [1]);
    assert_eq!(found("src/sse/scan.rs", "pub(in crate::http) struct S;\n"), [1]);
    assert_eq!(found("src/base/key.rs", "macro_rules! m { () => { $crate::sse::x() } }\n"), [1]);
    assert_eq!(found("src/engine.rs", "use crate::{cli, reactor};\n"), [1]);
    assert_eq!(found("src/admin/page.rs", "use crate::{cli, Engine, engine};\n"), [1]);
}

#[test]
fn imports_of_the_table_are_let_through() {
    let found = |file, text| lines(imports_go_down, file, text);
    let own = "use super::super::sse::Block;\nuse crate::sse::*;\npub(crate) mod a {}\npub(super) fn f() {}\n";
    assert_eq!(found("src/sse/scan.rs", own), [0; 0]);
    assert_eq!(found("src/clock.rs", "mod tests {\n    use super::*;\n}\n"), [0; 0]);
    assert_eq!(
        found(
            "src/sse/scan.rs",
            "// use crate::http::Head;\n/// [`crate::http`]\nconst A: &str = \"crate::http::x\";\n"
        ),
        [0; 0]
    );
    assert_eq!(found("src/cli/mod.rs", "use crate::{admin, engine, Engine};\n"), [0; 0]);
    assert_eq!(found("src/lib.rs", "pub use crate::http::Head;\n"), [0; 0]);
}

#[test]
fn tests_of_any_layer_may_use_base() {
    let found = |text| lines(imports_go_down, "src/sync.rs", text);
    assert_eq!(found("use crate::base::Random;\n"), [1]);
    assert_eq!(found("#[cfg(not(test))]\nuse crate::base::Random;\n"), [2]);
    assert_eq!(
        found("#[cfg(test)]\nuse crate::base::Random;\n#[cfg(test)]\nmod tests {\n    use crate::base::Random;\n}\n"),
        [0; 0]
    );
    assert_eq!(found("#[cfg(test)]\nmod tests {}\nuse crate::base::Random;\n"), [3]);
    assert_eq!(found("#[cfg(test)]\nmod tests {\n    use crate::http::Head;\n}\n"), [3]);
}

#[test]
fn a_layer_or_name_outside_of_the_table_is_found() {
    assert_eq!(lines(imports_go_down, "src/util.rs", "//! Odds and ends.\n"), [1]);
    assert_eq!(lines(imports_go_down, "src/sse/scan.rs", "use crate::Tick;\n"), [1]);
    assert_eq!(lines(imports_go_down, "src/sse/scan.rs", "use crate::*;\n"), [1]);
}

#[test]
fn a_binary_that_reaches_inside_is_found() {
    let bad = "mod cli;\nfn main() {\n    crate::cli::run()\n}\n";
    assert_eq!(lines(main_uses_the_public_crate, "src/main.rs", bad), [3, 1]);
    assert_eq!(lines(main_uses_the_public_crate, "src/main.rs", "fn main() {\n    segno::cli::run()\n}\n"), [0; 0]);
}

#[test]
fn a_second_clock_is_found() {
    let bad = "use std::time::{Duration, Instant};\nfn f() { let t = std::time::SystemTime::now(); }\n";
    assert_eq!(lines(one_clock, "src/reactor/mod.rs", bad), [1, 2]);
    assert_eq!(lines(one_clock, "src/clock.rs", bad), [0; 0]);
    assert_eq!(lines(one_clock, "src/reactor/mod.rs", "use std::time::Duration; // not Instant\n"), [0; 0]);
}

#[test]
fn an_atomic_outside_of_the_facade_is_found() {
    let bad = "use std::sync::{Arc, atomic::{AtomicU64, Ordering}};\nuse arc_swap::ArcSwap;\nuse std::sync;\n\
               fn f() { std::thread::park(); }\n";
    assert_eq!(lines(one_layer_names_atomics, "src/slot/bell.rs", bad), [1, 1, 2, 3, 4]);
    for file in ["src/sync.rs", "src/sync/real.rs", "src/sync/model.rs"] {
        assert_eq!(lines(one_layer_names_atomics, file, bad), [0; 0]);
    }
    let good = "use std::sync::Arc;\nuse crate::sync::{AtomicU64, atomic::Ordering};\nfn park() {}\n";
    assert_eq!(lines(one_layer_names_atomics, "src/slot/bell.rs", good), [0; 0]);
}

#[test]
fn unsafe_code_is_found() {
    assert_eq!(lines(nothing_unsafe, "src/sse/scan.rs", "fn f() {\n    unsafe { g() }\n}\n"), [2]);
    assert_eq!(lines(nothing_unsafe, "src/lib.rs", "#![forbid(unsafe_code)] // unsafe\n"), [0; 0]);
}

#[test]
fn sockets_and_files_in_the_core_are_found() {
    let bad = "use std::net::{IpAddr, TcpStream};\nfn f() { std::fs::read(\"x\"); mio::Poll::new(); }\n";
    assert_eq!(lines(no_io_in_the_core, "src/machine/mod.rs", bad), [1, 2, 2]);
    assert_eq!(lines(no_io_in_the_core, "src/reactor/mod.rs", bad), [0; 0]);
    let tests = format!("#[cfg(test)]\nmod tests {{\n{bad}}}\n");
    assert_eq!(lines(no_io_in_the_core, "src/sse/scan.rs", &tests), [0; 0]);
}

#[test]
fn a_lock_on_the_reactors_thread_is_found() {
    let bad = "use std::sync::{Arc, Mutex};\nstruct S(parking_lot::RwLock<u8>);\n";
    assert_eq!(lines(the_reactor_takes_no_lock, "src/reactor/mod.rs", bad), [1, 2]);
    assert_eq!(lines(the_reactor_takes_no_lock, "src/store/memory.rs", bad), [0; 0]);
}

#[test]
fn a_sleep_is_found_wherever_it_stands() {
    let bad = "use std::thread;\nfn f() {\n    thread::sleep(ms);\n}\nuse std::thread::{sleep, spawn};\n";
    assert_eq!(lines(nothing_sleeps, "src/persist/mod.rs", bad), [3, 5]);
    assert_eq!(lines(nothing_sleeps, "tests/proxy.rs", bad), [3, 5]);
}

#[test]
fn a_placeholder_macro_is_found() {
    let bad = "fn f() {\n    todo!()\n}\nfn g() {\n    std::unimplemented!();\n    dbg!(1);\n}\nlet todo = 1;\n";
    assert_eq!(lines(no_placeholder_macros, "src/sse/scan.rs", bad), [2, 5, 6]);
}

#[test]
fn a_file_without_header_is_found() {
    assert_eq!(lines(a_header_opens_the_file, "src/sse/scan.rs", "// The scanner.\n"), [1]);
    assert_eq!(lines(a_header_opens_the_file, "src/sse/scan.rs", "//! The scanner.\n"), [0; 0]);
}

#[test]
fn a_file_beyond_the_bound_is_found() {
    assert_eq!(lines(not_too_long, "tests/big.rs", &"//\n".repeat(MAX_LINES + 1)), [MAX_LINES + 1]);
    assert_eq!(lines(not_too_long, "tests/big.rs", &"//\n".repeat(MAX_LINES)), [0; 0]);
}

#[test]
fn unclean_text_is_found() {
    let found = |text: &str| lines(text_is_clean, "src/sse/scan.rs", text);
    assert_eq!(found("a \nb\r\n"), [1, 2]);
    assert_eq!(found("\tb\n"), [1]);
    assert_eq!(found("a"), [1]);
    for mark in UNFINISHED {
        assert_eq!(found(&format!("ok\n// {mark}: later\n// {mark}S, a{mark}\n")), [2]);
    }
    for folder in PRIVATE_FOLDERS {
        assert_eq!(found(&format!("x\n\"{folder}me/x\"\n// http://host{folder}me\n")), [2]);
    }
}

#[test]
fn a_file_that_nothing_includes_is_found() {
    let tree = [
        Source::new("src/lib.rs", "pub mod sse;\n// mod old;\n"),
        Source::new("src/main.rs", "fn main() {}\n"),
        Source::new("src/sse/mod.rs", "mod scan;\n#[cfg(test)]\nmod tests;\nmod inline {\n    mod deep;\n}\n"),
        Source::new("src/sse/scan.rs", ""),
        Source::new("src/sse/tests.rs", ""),
        Source::new("src/sse/inline/deep.rs", ""),
        Source::new("src/sse/lost.rs", ""),
        Source::new("src/old.rs", "mod lost;\n"),
        Source::new("src/scan.rs", ""),
    ];
    let dead: Vec<String> = every_file_is_included(&tree).into_iter().map(|finding| finding.file).collect();
    assert_eq!(dead, ["src/sse/lost.rs", "src/old.rs", "src/scan.rs"]);
}

#[test]
fn a_file_with_a_path_is_the_module_that_it_is_included_as() {
    let tree = |tests: &str| {
        let mut tree = [
            Source::new("src/sse/mod.rs", "mod scan;\n"),
            Source::new("src/sse/scan.rs", "#[cfg(test)]\n#[path = \"scan_tests.rs\"]\nmod tests;\n"),
            Source::new("src/sse/scan_tests.rs", tests),
            Source::new("src/sse/scan/tests.rs", "use std::fs;\n"),
            Source::new("src/lib.rs", "pub mod sse;\n"),
        ];
        settle(&mut tree);
        tree
    };
    let good = tree("use super::super::event::Event;\nuse std::fs;\n");
    assert_eq!(imports_go_down(&good[2]), []);
    assert_eq!(no_io_in_the_core(&good[2]), []);
    let dead: Vec<String> = every_file_is_included(&good).into_iter().map(|finding| finding.file).collect();
    assert_eq!(dead, ["src/sse/scan/tests.rs"], "the module has its file elsewhere");
    assert_eq!(imports_go_down(&tree("use super::super::super::http::Head;\n")[2]).len(), 1);
}

#[test]
fn every_rule_runs_on_the_tree() {
    let bad = "fn f() {\n    unsafe { todo!() }\n    std::thread::sleep(crate::http::T);\n}\n\
               use std::{time::Instant, sync::{Mutex, atomic::fence}};\t\n";
    let sources = [Source::new("src/sse/lost.rs", bad), Source::new("src/main.rs", "//! M.\nuse crate::x::y;\n")];
    let long = Source::new("tests/long.rs", &"//! x\n".repeat(MAX_LINES + 1));
    let said: String = check(&[&sources[..], &[long]].concat()).iter().map(Finding::to_string).collect();
    for word in [
        "may not use",
        "reaches into",
        "clock",
        "façade",
        "unsafe",
        "without sockets",
        "lock",
        "sleeps",
        "left behind",
        "header",
        "bound",
        "tab",
        "includes this file",
    ] {
        assert!(said.contains(word), "no finding says `{word}`:\n{said}");
    }
}

#[test]
fn comments_strings_and_characters_are_no_tokens() {
    let text =
        "a /* b /* c */ d */ \"e \\\" f\" r#\"g \" h\"# b'i' '\\'' 'j' &'k l::m br\"n\" '\"' o // p\nq c\"\\\\\" r";
    let found: Vec<(&str, usize)> = tokens(text);
    assert_eq!(
        found,
        [("a", 1), ("\"e \\\" f\"", 1), ("&", 1), ("l", 1), ("::", 1), ("m", 1), ("o", 1), ("q", 2), ("r", 2)]
    );
    assert_eq!(tokens("\"two\nlines\" a /* x\ny */ b"), [("\"two\nlines\"", 1), ("a", 2), ("b", 3)]);
}
