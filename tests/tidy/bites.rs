//! Each rule of `tidy` against a small bad example, so that it is known to bite, and a good one, so that it is known to
//! let go.

use crate::layout::MAX_INLINE;
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
    assert_eq!(lines(not_too_long, "tests/big.rs", &"//\n".repeat(MAX_LINES)), [MAX_LINES]);
    assert_eq!(lines(not_too_long, "tests/big.rs", &"//\n".repeat(MAX_LINES - 1)), [0; 0]);
}

#[test]
fn a_method_of_the_machine_elsewhere_is_found() {
    let bad = "use super::Machine;\nimpl Machine {}\nimpl<'a, T: Into<u8>> super::Machine<'a, T>\nwhere\n    T: Copy,\n{\n}\n";
    assert_eq!(lines(the_machine_has_its_files, "src/machine/book/mod.rs", bad), [2, 3]);
    for file in ["src/machine/mod.rs", "src/machine/flow/heal.rs", "tests/proxy.rs"] {
        assert_eq!(lines(the_machine_has_its_files, file, bad), [0; 0]);
    }
    let good = "impl fmt::Debug for Machine {}\nimpl From<Machine> for u8 {}\nimpl Machines { fn f(m: Machine) {} }\n\
                fn g() -> impl Fn(Machine) {}\n#[cfg(test)]\nmod tests {\n    impl Machine {}\n}\n";
    assert_eq!(lines(the_machine_has_its_files, "src/machine/book/mod.rs", good), [0; 0]);
}

#[test]
fn a_test_world_in_the_library_is_found() {
    let found = |file, text| lines(imports_go_down, file, text);
    assert_eq!(found("src/engine.rs", "use crate::testing::World;\n"), [1]);
    assert_eq!(found("src/admin/mod.rs", "use crate::testing::World;\n"), [1]);
    assert_eq!(found("src/engine.rs", "#[cfg(test)]\nmod tests {\n    use crate::testing::World;\n}\n"), [0; 0]);
    assert_eq!(found("src/fuzzing/ops.rs", "use crate::testing::World;\n"), [0; 0]);
    assert_eq!(found("src/testing/world.rs", "use crate::{machine::Machine, persist::Worker};\n"), [0; 0]);
    assert_eq!(found("src/testing/world.rs", "use crate::cli::Args;\n"), [1]);
    let shipped = |text| lines(test_worlds_stay_out_of_the_library, "src/lib.rs", text);
    assert_eq!(shipped("mod base;\nmod testing;\n"), [2]);
    assert_eq!(shipped("#[cfg(any(test, feature = \"fuzzing\"))]\nmod testing;\n#[cfg(test)]\nmod testing;\n"), [0; 0]);
}

#[test]
fn a_path_beside_the_code_is_found() {
    let bad = "#[cfg(test)]\n#[path = \"scan_tests.rs\"]\nmod tests;\n";
    assert_eq!(lines(no_paths_beside_the_code, "src/sse/scan.rs", bad), [3]);
    assert_eq!(lines(no_paths_beside_the_code, "src/sse/scan.rs", "#[cfg(test)]\nmod tests;\n"), [0; 0]);
    assert_eq!(lines(no_paths_beside_the_code, "tests/proxy.rs", bad), [0; 0]);
}

#[test]
fn a_test_module_with_another_name_is_found() {
    let found = |file, text| lines(test_modules_are_called_tests, file, text);
    let bad = "#[cfg(test)]\nmod scan_tests;\n#[cfg(test)]\nmod twin {\n    mod a;\n}\nmod real;\n";
    assert_eq!(found("src/sse/mod.rs", bad), [2, 4]);
    let good = "#[cfg(test)]\nmod tests;\n#[cfg(any(test, loom))]\nmod model;\n#[cfg(not(test))]\nmod real;\n";
    assert_eq!(found("src/sync.rs", good), [0; 0]);
    assert_eq!(found("src/sse/tests/mod.rs", "#[cfg(test)]\nmod world;\n"), [0; 0]);
    assert_eq!(found("src/lib.rs", "#[cfg(test)]\nmod testing;\n"), [0; 0]);
}

#[test]
fn long_inline_tests_are_found() {
    let tests = |lines: usize| format!("struct S;\n#[cfg(test)]\nmod tests {{\n{}}}\n", "//\n".repeat(lines - 2));
    assert_eq!(lines(long_tests_have_a_file, "src/sse/scan.rs", &tests(MAX_INLINE + 1)), [3]);
    assert_eq!(lines(long_tests_have_a_file, "src/sse/scan.rs", &tests(MAX_INLINE)), [0; 0]);
    let code = format!("mod inner {{\n{}}}\n", "//\n".repeat(MAX_INLINE));
    assert_eq!(lines(long_tests_have_a_file, "src/sse/scan.rs", &code), [0; 0]);
}

/// What the rule on circles says of these files of the layer `sse`.
fn circles(files: &[(&str, &str)]) -> Vec<String> {
    let mut tree: Vec<Source> =
        files.iter().map(|(name, text)| Source::new(&format!("src/sse/{name}.rs"), text)).collect();
    settle(&mut tree);
    no_circle_of_files(&tree).into_iter().map(|finding| finding.wrong).collect()
}

#[test]
fn a_circle_of_two_files_is_told_with_its_names() {
    let said = circles(&[
        ("mod", "mod a;\nmod b;\n"),
        ("a", "use super::b::{B, Deep as D};\nstruct A;\n"),
        ("b", "struct B;\nfn f() {\n    crate::sse::a::A::new()\n}\n"),
    ]);
    assert_eq!(
        said,
        ["a circle of files: src/sse/a.rs -> src/sse/b.rs (super::b::B, super::b::Deep) -> src/sse/a.rs \
          (crate::sse::a::A::new)"]
    );
}

#[test]
fn a_module_and_its_child_make_a_circle() {
    let child = ("child", "use super::Own;\n");
    for uses in ["pub use child::X;", "use self::child::X;", "fn f() { child::x() }", "use child;"] {
        assert_eq!(circles(&[("mod", &format!("mod child;\nstruct Own;\n{uses}\n")), child]).len(), 1, "{uses}");
    }
    assert_eq!(circles(&[("mod", "mod child;\nstruct Own;\n"), child]), [""; 0], "`mod` alone is no use");
}

#[test]
fn the_shortest_circle_is_told_once() {
    let said = circles(&[
        ("a", "use super::b::B;\n"),
        ("b", "use super::c::C;\n"),
        ("c", "use super::a::A;\nuse super::d::D;\n"),
        ("d", "use super::e::E;\n"),
        ("e", ""),
    ]);
    assert_eq!(said.len(), 1, "{said:?}");
}

#[test]
fn a_name_passed_on_counts_for_the_file_that_defines_it() {
    let child = ("b", "use super::X;\n");
    let a = ("a", "pub struct X;\n");
    assert_eq!(circles(&[("mod", "mod a;\nmod b;\npub use a::X;\npub use b::Y;\n"), a, child]), [""; 0]);
    assert_eq!(circles(&[("mod", "mod a;\nmod b;\npub use a::*;\npub use b::Y;\n"), a, child]), [""; 0]);
    let back = ("a", "use super::Y;\npub struct X;\n");
    let chain = ("mod", "mod a;\nmod b;\npub use a::X;\npub use b::Z as Y;\n");
    let said = circles(&[chain, back, ("b", "use super::X;\npub struct Z;\n")]);
    assert_eq!(said, ["a circle of files: src/sse/a.rs -> src/sse/b.rs (super::Y) -> src/sse/a.rs (super::X)"]);
}

#[test]
fn tests_visibility_and_other_layers_make_no_circle() {
    let a = "use super::b::B;\n";
    for b in [
        "#[cfg(test)]\nmod tests {\n    use super::super::a::A;\n}\n",
        "#[cfg(test)]\nuse super::a::A;\n",
        "pub(in crate::sse::a) struct B;\n",
        "// super::a::A\n",
        "use crate::base::a::A;\nuse super::super::http::a::A;\n",
    ] {
        assert_eq!(circles(&[("a", a), ("b", b)]), [""; 0], "{b}");
    }
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
    let inline = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "//\n".repeat(MAX_INLINE));
    let layout = [
        Source::new("src/lib.rs", "mod testing;\n"),
        Source::new("src/http/mod.rs", "use head::Head;\nimpl Machine {}\nstruct Body;\n"),
        Source::new("src/http/head.rs", "use super::Body;\n#[cfg(test)]\n#[path = \"x.rs\"]\nmod twin;\n"),
        Source::new("src/http/long.rs", &inline),
    ];
    let said: String = check(&[&sources[..], &[long], &layout].concat()).iter().map(Finding::to_string).collect();
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
        "is the rule",
        "tab",
        "includes this file",
        "circle of files",
        "outside of the conductors",
        "plain library",
        "`#[path]` takes",
        "does not say so",
        "is the bound",
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
