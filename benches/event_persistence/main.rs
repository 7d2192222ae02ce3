//! What it costs to remember cursors: at the hand-off, under load, on the disk.
//!
//! Run: `cargo bench --bench event_persistence -- [SECTION...]`, all of them without a name. Files are made in the
//! system's directory for temporary ones and removed.
//!
//! | section | what it shows |
//! |---|---|
//! | `publish` | the time of one publication through a slot |
//! | `load` | 10,000 streams of 100 events a second, for 30 s: threads, records, lag, queue |
//! | `table` | write amplification: events, records, bytes, commits, syncs |
//! | `million` | a file of 1,000,000 sessions: to open, to restore one, to read through |
//! | `proxied` | CPU of a proxy with a file and with memory; the longest turn while the store hangs |

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a program that measures and prints")]

mod load;
mod million;
mod process;
mod proxied;
mod publish;
mod table;

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let sections: [(&str, fn()); 5] = [
        ("publish", publish::run),
        ("load", load::run),
        ("table", table::run),
        ("million", million::run),
        ("proxied", proxied::run),
    ];
    for (name, run) in sections {
        if wanted.is_empty() || wanted.iter().any(|word| word == name) {
            println!("# {name}");
            run();
            println!();
        }
    }
}
