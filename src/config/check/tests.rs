//! Each bound and each relation, broken alone.

use super::*;
use crate::config::Upstream;

fn with(change: impl Fn(&mut Config, &mut Route)) -> Vec<(Section, &'static str)> {
    let mut config = Config::default();
    let mut route = Route::new(Upstream::parse("http://127.0.0.1:1").unwrap());
    change(&mut config, &mut route);
    config.routes = vec![route].into();
    config.faults().iter().map(|fault| (fault.section, fault.key)).collect()
}

#[test]
fn the_defaults_have_no_fault_but_their_empty_table() {
    assert_eq!(with(|_, _| {}), []);
    let faults = Config::default().faults();
    assert_eq!(faults.len(), 1);
    assert_eq!(faults[0].key, "route");
}

#[test]
fn an_event_larger_than_half_the_log_names_both_keys() {
    let mut route = Route::new(Upstream::parse("http://h").unwrap());
    route.max_event_bytes = (512 << 10) + 1;
    let config = Config { routes: vec![route].into(), ..Config::default() };
    let what = &config.faults()[0].what;
    assert!(what.contains("`max_event_bytes`") && what.contains("`replay_bytes`"), "{what}");
}

#[test]
fn every_bound_is_checked() {
    let route = Section::Route(0);
    assert_eq!(with(|_, r| r.window = 0), [(route, "window")]);
    assert_eq!(with(|_, r| r.heal_rate = 0), [(route, "heal_rate")]);
    for path in ["health", "/a b", "/\r\n", "/#x", "/\u{e9}"] {
        assert_eq!(with(|_, r| r.set.health = Some(path.to_owned())), [(route, "health")], "{path}");
    }
    assert_eq!(with(|_, r| r.set.health_every = Span::ZERO), [(route, "health_every")]);
    assert_eq!(with(|_, r| r.set.health_timeout = Span::ZERO), [(route, "health_timeout")]);
    assert_eq!(with(|_, r| r.set.health_fall = 0), [(route, "health_fall")]);
    assert_eq!(with(|_, r| r.set.health_rise = 101), [(route, "health_rise")]);
    assert_eq!(with(|_, r| r.set.health_status = Some(199)), [(route, "health_status")]);
    assert_eq!(with(|_, r| r.replay_events = 0), [(route, "replay_events")]);
    assert_eq!(with(|_, r| r.max_id_bytes = 0), [(route, "max_id_bytes")]);
    assert_eq!(with(|_, r| r.max_event_bytes = 0), [(route, "max_event_bytes")]);
    assert_eq!(with(|_, r| r.heartbeat = Span::from_micros(1)), [(route, "heartbeat")]);
    assert_eq!(with(|_, r| r.connect_timeout = Span::ZERO), [(route, "connect_timeout")]);
    assert_eq!(with(|c, _| c.limits.streams = 0), [(Section::Limits, "streams")]);
    assert_eq!(with(|c, _| c.limits.log_budget = 1 << 19), [(route, "replay_bytes")]);
    let many = std::iter::repeat_n("::1".parse().unwrap(), 1_025);
    assert_eq!(with(|c, _| c.trusted_proxies = many.clone().collect()), [(Section::Top, "trusted_proxies")]);
    assert_eq!(with(|c, _| c.listen.clear()), [(Section::Top, "listen")]);
    assert_eq!(with(|c, _| c.admin = Some(c.listen[0])), [(Section::Top, "admin")]);
    assert_eq!(with(|c, _| c.admin_hosts = vec!["h".to_owned(); 65]), [(Section::Top, "admin_hosts")]);
    for host in ["", "h:80", "http://h", "a b"] {
        assert_eq!(with(|c, _| c.admin_hosts = vec![host.to_owned()]), [(Section::Top, "admin_hosts")], "{host}");
    }
}

#[test]
fn events_are_shared_through_a_store_that_others_reach() {
    let found = |store: StoreConfig| {
        with(|c, _| {
            c.persist.replay_shared = true;
            c.store = store.clone();
        })
    };
    let fault = [(Section::Top, "replay_shared")];
    assert_eq!(found(StoreConfig::Memory), fault);
    assert_eq!(found(StoreConfig::Redb { path: "x".into() }), fault);
    assert_eq!(found(StoreConfig::parse("redis://h").unwrap()), []);
    assert_eq!(found(StoreConfig::Own), []);
}

#[test]
fn the_admin_address_shares_no_port_with_clients() {
    let found = |listen: &str, admin: &str| {
        with(|c, _| {
            c.listen = vec![listen.parse().unwrap()];
            c.admin = Some(admin.parse().unwrap());
        })
    };
    for (listen, admin) in [
        ("0.0.0.0:80", "127.0.0.1:80"),
        ("127.0.0.1:80", "0.0.0.0:80"),
        ("[::]:80", "127.0.0.1:80"),
        ("[::ffff:127.0.0.1]:80", "127.0.0.1:80"),
    ] {
        assert_eq!(found(listen, admin), [(Section::Top, "admin")], "{listen} {admin}");
    }
    for (listen, admin) in [("127.0.0.1:80", "127.0.0.2:80"), ("0.0.0.0:80", "0.0.0.0:81"), ("0.0.0.0:0", "0.0.0.0:0")]
    {
        assert_eq!(found(listen, admin), [], "{listen} {admin}");
    }
}

#[test]
fn host_and_path_are_looked_at() {
    let route = Section::Route(0);
    for host in ["", "h:80", "http://h", "h/x", "[::1]:80"] {
        assert_eq!(with(|_, r| r.host = Some(host.to_owned())), [(route, "host")], "{host}");
    }
    assert_eq!(with(|_, r| r.host = Some("[::1]".to_owned())), []);
    for path in ["", "x", "/a b", "/a?b", "/ä"] {
        assert_eq!(with(|_, r| r.path = path.to_owned()), [(route, "path")], "{path}");
    }
}

#[test]
fn the_second_of_two_equal_routes_is_at_fault() {
    let mut a = Route::new(Upstream::parse("http://h").unwrap());
    a.host = Some("H.example".to_owned());
    let mut b = a.clone();
    b.host = Some("h.example".to_owned());
    b.name = "b".to_owned();
    let mut c = a.clone();
    c.path = "/c".to_owned();
    let config = Config { routes: vec![a, b, c].into(), ..Config::default() };
    let found: Vec<_> = config.faults().iter().map(|fault| (fault.section, fault.key)).collect();
    assert_eq!(found, [(Section::Route(1), "path"), (Section::Route(2), "name")]);
}
