//! Nodes of a Cluster that fall silent, are lost, are replaced, and slots that move.

use crate::rig::{Rig, SLACK, WINDOW, name, names_of, slot_of};
use crate::support::redis::{Server, cluster, cluster_with};
use crate::support::{rest, until};
use std::time::{Duration, Instant};

fn url(nodes: &[Server]) -> String {
    let seeds: Vec<String> = nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
    format!("redis+cluster://{}?timeout=2s", seeds.join(","))
}

/// The Cluster does not notice that a node is silent.
const UNNOTICED: [&str; 2] = ["--cluster-node-timeout", "60000"];

#[test]
fn a_silent_node_holds_up_its_own_records_alone() {
    let Some(nodes) = cluster_with(&UNNOTICED) else { return };
    let mut rig = Rig::start(&url(&nodes), 300);
    let (silent, others) = names_of(&nodes[2], &rig);
    assert!(silent.len() > 50 && others.len() > 100, "{} and {}", silent.len(), others.len());
    rig.publish_all();
    assert!(rig.flush());
    nodes[2].signal("STOP");
    // The first call takes one time-out.
    rig.publish_all();
    rig.until_durable(&others, Duration::from_secs(5));
    for round in 0..10 {
        rig.publish_all();
        let begun = Instant::now();
        rig.until_durable(&others, WINDOW + SLACK);
        eprintln!("round {round}: the other nodes' records took {:?}", begun.elapsed());
        // What is meant for the silent node is told so at once, but for the first, which takes a time-out of its own.
        let begun = Instant::now();
        let told = rig.load(silent[0]).unwrap_err();
        assert!(round == 0 || begun.elapsed() < SLACK, "a look-up took {:?}", begun.elapsed());
        assert!(told.contains(&format!("127.0.0.1:{}", nodes[2].port)), "{told}");
        assert_eq!(rig.load(others[0]), Ok(Some(rig.published)));
        rest(WINDOW);
    }
    assert_eq!(rig.metrics.persistence().store_open.get(), 1, "the store stays open");
    assert!(silent.iter().all(|n| rig.durable(*n) < rig.published), "nobody has acknowledged these");
    rig.check_stored(&others);
    nodes[2].signal("CONT");
    let back = Instant::now();
    until("the node is asked again", || silent.iter().all(|n| rig.durable(*n) == rig.published));
    eprintln!("all was written {:?} after the node was back", back.elapsed());
    assert!(back.elapsed() < Duration::from_secs(3), "{:?}", back.elapsed());
    rig.check_stored(&silent);
    assert!(rig.flush());
}

#[test]
fn a_silent_node_holds_up_no_logs_of_others() {
    let Some(nodes) = cluster_with(&UNNOTICED) else { return };
    let mut rig = Rig::start_shared(&url(&nodes), 60);
    let (silent, others) = names_of(&nodes[1], &rig);
    assert!(silent.len() > 10 && others.len() > 20, "{} and {}", silent.len(), others.len());
    rig.append_all();
    rig.until_logged(&rig.all(), Duration::from_secs(5));
    nodes[1].signal("STOP");
    rig.append_all();
    rig.until_logged(&others, Duration::from_secs(5));
    // The call that wrote these takes one time-out.
    rig.append_all();
    rig.until_logged(&others, Duration::from_secs(5));
    for _ in 0..5 {
        rig.append_all();
        rig.until_logged(&others, WINDOW + SLACK);
    }
    nodes[1].signal("CONT");
    let back = Instant::now();
    rig.until_logged(&rig.all(), Duration::from_secs(4));
    eprintln!("all was written {:?} after the node was back", back.elapsed());
    assert_eq!(rig.metrics.persistence().log_blocks_dropped.get(), 0);
    assert_eq!(rig.metrics.persistence().log_writes_fenced.get(), 0);
}

#[test]
fn slots_that_move_lose_nothing_and_are_followed() {
    let Some(nodes) = cluster() else { return };
    let mut rig = Rig::start(&url(&nodes), 300);
    rig.publish_all();
    assert!(rig.flush());
    // A slot of the first node goes to the second, key by key, while cursors are written.
    let (here, _) = names_of(&nodes[0], &rig);
    let slot = slot_of(&name(here[0]).session);
    let (moving, still): (Vec<usize>, Vec<usize>) =
        rig.all().into_iter().partition(|n| slot_of(&name(*n).session) == slot);
    assert!(moving.len() > 1 && still.len() > 200, "{} and {}", moving.len(), still.len());
    let (from, to, text) = (&nodes[0], &nodes[1], slot.to_string());
    assert_eq!(to.cli(&["CLUSTER", "SETSLOT", &text, "IMPORTING", &from.id()]), "OK");
    assert_eq!(from.cli(&["CLUSTER", "SETSLOT", &text, "MIGRATING", &to.id()]), "OK");
    let port = to.port.to_string();
    loop {
        let key = from.cli(&["CLUSTER", "GETKEYSINSLOT", &text, "1"]);
        rig.publish_all();
        rig.until_durable(&still, WINDOW + SLACK);
        // Each record is in one of both places, wherever that is.
        for n in &moving {
            assert!(rig.load(*n).unwrap() >= Some(rig.durable(*n)), "stream {n}");
        }
        if key.is_empty() {
            break;
        }
        assert_eq!(from.cli(&["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "KEYS", &key]), "OK");
    }
    let over = Instant::now();
    for node in [to, from, &nodes[2]] {
        assert_eq!(node.cli(&["CLUSTER", "SETSLOT", &text, "NODE", &to.id()]), "OK");
    }
    rig.until_durable(&moving, Duration::from_secs(5));
    eprintln!("the moved slot was written {:?} after the move", over.elapsed());
    rig.publish_all();
    rig.until_durable(&rig.all(), 2 * WINDOW + SLACK);
    rig.check_stored(&rig.all());
    let moved: Vec<usize> = names_of(to, &rig).0.into_iter().filter(|n| moving.contains(n)).collect();
    assert_eq!(moved, moving);
    assert_eq!(rig.metrics.persistence().fenced.get(), 0);
}

#[test]
fn a_master_is_lost_and_its_replica_takes_over() {
    let Some(mut nodes) = cluster_with(&["--repl-diskless-sync-delay", "0"]) else { return };
    let replica = nodes[2].replica(&["--repl-diskless-sync-delay", "0"]);
    let mut rig = Rig::start_shared(&url(&nodes), 300);
    let (lost, others) = names_of(&nodes[2], &rig);
    rig.publish_all();
    rig.append_all();
    assert!(rig.flush());
    rig.until_logged(&rig.all(), Duration::from_secs(5));
    assert_ne!(nodes[2].cli(&["WAIT", "1", "5000"]), "0");
    until("the replica has it", || replica.cli(&["DBSIZE"]) == nodes[2].cli(&["DBSIZE"]));
    nodes[2].kill();
    let killed = Instant::now();
    let mut after = None;
    while lost.iter().any(|n| rig.durable(*n) < rig.published) || after.is_none() {
        rig.publish_all();
        let is_down = nodes[0].cli(&["CLUSTER", "INFO"]).contains("cluster_state:fail");
        match is_down {
            // The Cluster as a whole refuses, until the replica has taken over.
            true => rest(WINDOW),
            false => rig.until_durable(&others, 2 * WINDOW + SLACK + Duration::from_secs(2)),
        }
        if after.is_none() && replica.cli(&["ROLE"]).starts_with("master") {
            after = Some(Instant::now());
        }
        assert!(killed.elapsed() < Duration::from_secs(20), "the replica's records are not written");
        if after.is_some_and(|at| at.elapsed() < Duration::from_millis(1)) {
            rest(WINDOW);
        }
        if after.is_some() {
            rest(3 * WINDOW);
        }
    }
    let took = after.map(|at| at.elapsed());
    eprintln!("the replica took over; all was written {took:?} later");
    assert!(took.is_some_and(|took| took < Duration::from_secs(4)), "{took:?}");
    rig.publish_all();
    rig.until_durable(&rig.all(), 2 * WINDOW + SLACK);
    rig.check_stored(&rig.all());
    assert_eq!(rig.metrics.persistence().store_open.get(), 1, "the store stays open");
    // Logs came over with their owner, and go on.
    rig.append_all();
    rig.until_logged(&rig.all(), Duration::from_secs(5));
}

#[test]
fn a_master_is_lost_for_long_and_the_others_go_on() {
    let Some(mut nodes) = cluster_with(&["--cluster-require-full-coverage", "no"]) else { return };
    let mut rig = Rig::start(&url(&nodes), 300);
    let (lost, others) = names_of(&nodes[1], &rig);
    rig.publish_all();
    assert!(rig.flush());
    nodes[1].kill();
    let killed = Instant::now();
    let mut is_known = false;
    while !is_known || killed.elapsed() < Duration::from_secs(3) {
        rig.publish_all();
        rig.until_durable(&others, 2 * WINDOW + SLACK);
        is_known = nodes[0].cli(&["CLUSTER", "NODES"]).contains("fail");
        rest(WINDOW);
    }
    assert!(lost.iter().all(|n| rig.durable(*n) == 1), "nobody has acknowledged these");
    assert_eq!(rig.metrics.persistence().store_open.get(), 1, "the store stays open");
    let begun = Instant::now();
    assert!(rig.load(lost[0]).is_err() && begun.elapsed() < SLACK, "a look-up took {:?}", begun.elapsed());
    // It comes back with its place in the Cluster and without its records: they are written again.
    nodes[1].again();
    until("the slots are served", || nodes[1].cli(&["CLUSTER", "INFO"]).contains("cluster_state:ok"));
    let back = Instant::now();
    rig.publish_all();
    rig.until_durable(&rig.all(), Duration::from_secs(4));
    eprintln!("all was written {:?} after the master was back", back.elapsed());
    rig.check_stored(&rig.all());
    // It had the key as well, which it was offered again before anything else.
    assert_eq!(nodes[1].cli(&["GET", "segno:{meta}:key"]), format!("{:032x}", 77));
}
