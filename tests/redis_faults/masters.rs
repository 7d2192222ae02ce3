//! One server, or a master with Sentinels, that dies, comes back, or is replaced.

use crate::rig::{Rig, SLACK, WINDOW};
use crate::support::redis::Server;
use crate::support::{rest, until};
use std::time::{Duration, Instant};

#[test]
fn a_failover_of_sentinels_loses_nothing_that_was_acknowledged_and_replicated() {
    let Some(mut master) = Server::start(&[]) else { return };
    let port = master.port.to_string();
    let replica = Server::start(&["--replicaof", "127.0.0.1", &port, "--repl-diskless-sync-delay", "0"]).unwrap();
    let sentinels: Vec<Server> = (0..3).map(|_| Server::sentinel(master.port, 2).unwrap()).collect();
    let list: Vec<String> = sentinels.iter().map(|sentinel| format!("127.0.0.1:{}", sentinel.port)).collect();
    until("the replica is linked", || replica.cli(&["INFO", "replication"]).contains("master_link_status:up"));
    for sentinel in &sentinels {
        until("Sentinels know each other and the replica", || {
            let told = sentinel.cli(&["SENTINEL", "MASTER", "main"]);
            told.contains("num-other-sentinels\n2") && told.contains("num-slaves\n1")
        });
    }
    let mut rig = Rig::start(&format!("redis+sentinel://{}/main", list.join(",")), 300);
    rig.publish_all();
    assert!(rig.flush());
    assert_ne!(master.cli(&["WAIT", "1", "5000"]), "0");
    until("the replica has it", || replica.cli(&["DBSIZE"]) == master.cli(&["DBSIZE"]));
    // One that the replica may lack, so that the oracle below has something to find.
    master.kill();
    let mut promoted = None;
    let killed = Instant::now();
    while promoted.is_none() {
        rig.publish_all();
        rest(WINDOW);
        if replica.cli(&["ROLE"]).starts_with("master") {
            promoted = Some(Instant::now());
        }
        assert!(killed.elapsed() < Duration::from_secs(20), "no failover");
    }
    assert!(rig.durable(0) == 1 && rig.lag() > WINDOW, "nothing is acknowledged meanwhile, and the lag tells");
    rig.until_durable(&rig.all(), Duration::from_secs(6));
    eprintln!("all was written {:?} after the replica took over", promoted.unwrap().elapsed());
    rig.publish_all();
    rig.until_durable(&rig.all(), 2 * WINDOW + SLACK);
    assert_eq!(rig.check_stored(&rig.all()), 300);
    assert_eq!(rig.metrics.persistence().fenced.get(), 0);
}

#[test]
fn a_server_that_comes_back_empty_gets_the_cursors_of_active_streams_again() {
    let Some(mut server) = Server::start(&[]) else { return };
    let mut rig = Rig::start(&server.url(), 300);
    rig.publish_all();
    assert!(rig.flush());
    server.kill();
    rig.publish_all();
    until("the store is away", || rig.metrics.persistence().store_open.get() == 0);
    server.again();
    rig.until_durable(&rig.all(), Duration::from_secs(8));
    assert_eq!(rig.check_stored(&rig.all()), 300);
    rig.publish_all();
    rig.until_durable(&rig.all(), 2 * WINDOW + SLACK);
    assert_eq!(server.cli(&["GET", "segno:{meta}:key"]), format!("{:032x}", 77), "it was offered the key again");
}

#[test]
fn a_server_without_room_takes_everything_once_it_has_room() {
    let Some(server) = Server::start(&[]) else { return };
    let mut rig = Rig::start(&server.url(), 300);
    rig.publish_all();
    assert!(rig.flush());
    server.cli(&["CONFIG", "SET", "maxmemory", "1"]);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(2) {
        rig.publish_all();
        rest(WINDOW);
    }
    let persistence = rig.metrics.persistence();
    assert_eq!((persistence.store_open.get(), persistence.breaker_open.get(), rig.durable(0)), (1, 1, 1));
    assert_eq!(rig.load(0), Ok(Some(1)), "what is stored can be read");
    server.cli(&["CONFIG", "SET", "maxmemory", "0"]);
    let room = Instant::now();
    // The breaker asks once a second.
    rig.until_durable(&rig.all(), Duration::from_millis(1_000) + 2 * WINDOW + SLACK);
    eprintln!("all was written {:?} after there was room", room.elapsed());
    rig.check_stored(&rig.all());
}
