//! What flags and variables come to beside a file, and where each value came from.

use super::*;
use crate::config::file::Origin;

fn with_variables(pairs: &[(&str, &str)]) -> (Flags, Vec<String>) {
    let mut flags = Flags::default().with("upstream", "http://h");
    let warnings = flags.variables(pairs.iter().map(|(name, text)| ((*name).into(), (*text).into())));
    (flags, warnings)
}

#[test]
fn a_flag_beats_a_variable_a_variable_beats_the_file_and_the_file_beats_the_default() {
    let text = "flush_window = \"1ms\"\nsession_idle = \"1h\"\nactivity_window = \"1s\"\n";
    let (flags, warnings) = with_variables(&[("SEGNO_SESSION_IDLE", "2h"), ("SEGNO_ACTIVITY_WINDOW", "2s")]);
    let flags = flags.with("activity_window", "3s");
    let effective = read_with(text, &flags, |_| Vec::new()).unwrap();
    let persist = &effective.config.persist;
    let spans = [persist.flush_window, persist.session_idle, persist.activity_window];
    assert_eq!(spans, [Span::from_millis(1), Span::from_secs(7_200), Span::from_secs(3)]);
    let keys = ["flush_window", "session_idle", "activity_window", "peer_timeout"];
    let origins = keys.map(|key| effective.origin(Section::Top, key).show("f"));
    assert_eq!(origins, ["f:1:16", "SEGNO_SESSION_IDLE", "--activity-window", "default"]);
    assert_eq!(warnings, [""; 0]);
}

#[test]
fn a_routes_own_key_beats_them_all_and_tells_its_place() {
    let text = "[defaults]\nheal_for = \"1s\"\n[[route]]\nlinger = \"1s\"\n[[route]]\npath = \"/b\"\n";
    let (flags, _) = with_variables(&[("SEGNO_LINGER", "2s"), ("SEGNO_STALL", "2s")]);
    let effective = read_with(text, &flags, |_| Vec::new()).unwrap();
    let told = |n: usize, key: &str| effective.origin(Section::Route(n), key);
    assert_eq!(told(0, "linger"), Origin::File(4, 10));
    assert_eq!(told(1, "linger"), Origin::Variable("SEGNO_LINGER".to_owned()));
    assert_eq!((told(0, "heal_for"), told(0, "hold_head")), (Origin::File(2, 12), Origin::Default));
    assert_eq!(told(0, "upstream"), Origin::Flag("--upstream".to_owned()));
    let lingers = [0, 1].map(|n| effective.config.routes[n].linger);
    assert_eq!(lingers, [1, 2].map(Span::from_secs));
}

#[test]
fn a_wrong_variable_is_told_by_its_name_and_leads_to_no_second_problem() {
    for (name, text, what) in [
        ("SEGNO_HEAL_FOR", "60", "`SEGNO_HEAL_FOR`: a duration needs its unit"),
        ("SEGNO_WINDOW", "many", "`SEGNO_WINDOW`: write a whole number"),
        ("SEGNO_WINDOW", "0", "`SEGNO_WINDOW`: `window` is 0"),
        ("SEGNO_WINDOW", "99999999999999999999999", "`SEGNO_WINDOW`: "),
        ("SEGNO_ACCESS_LOG", "yes", "`SEGNO_ACCESS_LOG`: write true or false"),
        ("SEGNO_DEDUP", "alway", "`SEGNO_DEDUP`: unknown value `alway`: did you mean `always`?"),
        ("SEGNO_LOG_BUDGET", "1MB", "`SEGNO_LOG_BUDGET`: not a size"),
        ("SEGNO_LISTEN", "localhost:80", "`SEGNO_LISTEN`: not an address"),
        ("SEGNO_REPLAY_BYTES", "1", "`SEGNO_REPLAY_BYTES`: "),
    ] {
        let found = read("[defaults]\n", &with_variables(&[(name, text)]).0).unwrap_err();
        let shown: Vec<String> = found.iter().map(|problem| problem.show(Some("f"))).collect();
        assert!(shown[0].starts_with(what), "{name}={text}: {shown:?}");
        assert!(found.len() == 1 || name == "SEGNO_REPLAY_BYTES", "{name}={text}: {shown:?}");
    }
    let secret = with_variables(&[("SEGNO_STORE", "redis:me:secret@h")]).0;
    assert!(!format!("{:?}", read("", &secret).unwrap_err()).contains("secret"));
}

#[test]
fn a_variable_that_nothing_reads_is_told_with_the_nearest_name() {
    let (flags, warnings) = with_variables(&[
        ("SEGNO_HEEL_FOR", "1s"),
        ("SEGNO_heal_for", "1s"),
        ("SEGNO_COLOUR", "1"),
        ("SEGNO_LINGER", ""),
        ("SEGNO_LOG", "warn"),
        ("SEGNO_SERVICE_HOST", "10.0.0.1"),
        ("SEGNO_PORT", "tcp://10.0.0.1:80"),
        ("SEGNO_ADMIN_PORT_80_TCP_ADDR", "10.0.0.1"),
        ("PATH", "/bin"),
    ]);
    assert_eq!(warnings.len(), 3, "{warnings:?}");
    assert!(warnings[0].ends_with("did you mean `SEGNO_HEAL_FOR`?"), "{warnings:?}");
    assert!(warnings[1].ends_with("did you mean `SEGNO_HEAL_FOR`?"), "{warnings:?}");
    assert_eq!(warnings[2], "unknown variable `SEGNO_COLOUR`, which changes nothing");
    let route = &read("", &flags).unwrap().routes[0];
    assert_eq!((route.heal_for, route.linger), (Span::from_secs(60), Span::from_secs(30)));
}

#[test]
fn what_a_help_text_shows_for_a_value_is_what_can_be_written() {
    for key in keys().into_iter().filter(|key| key.place.contains('|')) {
        for word in key.place.split('|') {
            assert_eq!(check(key.name, word), Ok(()), "{} {word}", key.name);
        }
    }
    let mut names: Vec<String> = keys().into_iter().map(|key| key.variable).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), keys().len(), "two keys have one variable");
}
