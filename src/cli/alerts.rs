//! `segno alerts`: rules for Prometheus.
//!
//! In: where the runbook is read. Out: a file of rules on standard output.
//! Laws: the rules use no metric that is not on the metrics page, and each has its part of the runbook
//! (`docs/operating.md`); tests hold both.

use super::Stop;
use super::args::AlertsArgs;
use super::say::print;
use std::io::Write;

const RULES: &str = include_str!("alerts/rules.yml");

/// Prints the rules.
pub(super) fn run(args: &AlertsArgs, out: impl Write) -> Result<(), Stop> {
    let rules = RULES.replace("RUNBOOK", &args.runbook);
    print(&rules, out)
}
