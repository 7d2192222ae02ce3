//! Each notice has words of its own.

use super::*;

#[test]
fn each_notice_has_words_of_its_own_and_names_what_it_is_about() {
    let (target, why) = (|| Subject::from("GET /feed"), || "it broke".into());
    let is_known = false;
    let (next, took) = (Some(Span::from_secs(7)), Span::from_secs(8));
    let reason = GapReason::Refused;
    let all = [
        (Notice::HealBegan { target: target() }, vec!["GET /feed"]),
        (Notice::Healed { target: target(), tries: 3, took }, vec!["GET /feed", "3", "8"]),
        (Notice::NotHealed { target: target(), why: why() }, vec!["GET /feed", "it broke"]),
        (Notice::LetGo { target: target(), events: 12 }, vec!["GET /feed", "12 events"]),
        (Notice::UpstreamAway { upstream: "h:80".into(), why: why() }, vec!["h:80", "it broke"]),
        (Notice::UpstreamBack { upstream: "h:80".into(), after: took, held: 9 }, vec!["h:80", "8 s", "9 streams"]),
        (
            Notice::TriedNext { target: target(), why: why(), next: "g:80".into() },
            vec!["GET /feed", "it broke", "g:80"],
        ),
        (
            Notice::UpstreamEjected { upstream: "h:80".into(), why: why(), until: Some(took) },
            vec!["h:80", "it broke", "8 s"],
        ),
        (
            Notice::UpstreamEjected { upstream: "h:80".into(), why: why(), until: None },
            vec!["h:80", "until its checks"],
        ),
        (Notice::ChecksFail { upstream: "h:80".into(), why: why() }, vec!["h:80", "it broke", "it gets them"]),
        (Notice::ChecksPass { upstream: "h:80".into() }, vec!["h:80", "good again"]),
        (Notice::UpstreamReturned { upstream: "h:80".into(), after: took }, vec!["h:80", "8 s"]),
        (Notice::CrowdedOut { target: target() }, vec!["GET /feed", "place"]),
        (Notice::AttemptFailed { target: target(), why: why(), next, is_known }, vec!["GET /feed", "it broke", "7"]),
        (Notice::AttemptFailed { target: target(), why: why(), next: None, is_known }, vec!["GET /feed", "giving up"]),
        (Notice::Gap { target: target(), reason }, vec!["GET /feed", "refused"]),
        (Notice::EncodedStream { target: target() }, vec!["GET /feed"]),
        (Notice::Malformed { target: target(), why: why() }, vec!["GET /feed", "it broke"]),
        (Notice::RequestRefused { status: 431, why: why() }, vec!["431", "it broke"]),
        (Notice::Full { what: "stream" }, vec!["stream"]),
        (Notice::Draining { leave: 12, stay: 34, spread: took, within: next.unwrap() }, vec!["12", "34", "8 s", "7 s"]),
    ];
    let mut lines = std::collections::HashSet::new();
    for (notice, parts) in all {
        let line = notice.to_string();
        assert!(parts.iter().all(|part| line.contains(part)) && !line.contains('\n'), "{line}");
        assert!(lines.insert(line), "{notice}");
    }
}

#[test]
fn a_target_is_shown_without_its_query_and_cut() {
    assert_eq!(&*target("GET /feed"), "GET /feed");
    assert_eq!(&*target("GET /feed?access_token=secret"), "GET /feed?...");
    assert_eq!(&*target("GET /feed;jsessionid=secret/x?y"), "GET /feed;...");
    assert_eq!(&*target("GET /feed?a;b"), "GET /feed?...");
    let long = target(&format!("GET /{}\u{20ac}?t=secret", "x".repeat(193)));
    assert_eq!(&*long, format!("GET /{}...?...", "x".repeat(193)));
    assert_eq!(&*target("GET /a\u{202e}b"), "GET /a\\u{202e}b");
}

#[test]
fn each_reason_why_upstream_cannot_be_reached_has_words_of_its_own() {
    use ConnectError::*;
    let away = [Unresolved, Refused, Unreachable, TimedOut, HandshakeCut, NoDescriptor, Local];
    let wrong = [Certificate, NotTls, Tls];
    assert!(wrong.iter().all(|why| why.is_wrong()) && !away.iter().any(|why| why.is_wrong()));
    let words: std::collections::HashSet<_> = away.iter().chain(&wrong).map(ToString::to_string).collect();
    assert_eq!(words.len(), 10);
}
