//! What one input costs does not grow with the crowd: steps are counted, not time.

use super::*;
use crate::config::Share;

/// The steps of the costliest input among those that `run` causes.
fn most_steps(w: &mut World, run: impl FnOnce(&mut World)) -> u64 {
    w.machine.most_steps = 0;
    run(w);
    w.machine.most_steps
}

/// A world with places for a crowd.
fn roomy(adjust: impl FnOnce(&mut Route)) -> World {
    lingering_world(|route, limits| {
        (limits.streams, limits.connections) = (10_000, 30_000);
        adjust(route);
    })
}

#[test]
fn the_last_answer_that_cannot_be_shared_costs_no_more_where_more_clients_wait() {
    let cost = |crowd: usize| {
        let mut w = roomy(|route| route.share = Share::Principal);
        let clients: Vec<usize> = (0..crowd).map(|_| w.client_with(GET_STREAM)).collect();
        assert_eq!(w.ups.len(), 1);
        let denied = "HTTP/1.1 401 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        let most = most_steps(&mut w, |w| {
            w.say(w.up(0), denied);
            w.pass_secs(1);
        });
        assert_eq!(w.ups.len(), crowd, "each of them asks for itself");
        (1..crowd).for_each(|n| w.say(w.up(n), denied));
        assert!(clients.iter().all(|c| w.status(*c) == 401));
        most
    };
    let (few, many) = (cost(200), cost(2_000));
    assert!(many < 2 * few, "{few} steps with 200 clients, {many} with 2,000");
}

#[test]
fn a_client_that_leaves_costs_no_more_where_its_session_has_more_streams() {
    let cost = |crowd: usize| {
        let mut w = lingering_world(|_, limits| {
            (limits.streams, limits.connections) = (10_000, 30_000);
            // From the middle on, each that is left has another one dropped.
            limits.lingering_per_principal = crowd / 2;
        });
        let clients: Vec<usize> = (0..crowd).map(|_| w.streaming().0).collect();
        let left = clients.iter().map(|c| most_steps(&mut w, |w| w.rst(*c))).max().unwrap();
        assert_eq!(w.machine.exchanges(), crowd / 2);
        left
    };
    let (few, many) = (cost(200), cost(2_000));
    assert!(many < 2 * few, "{few} steps in a session of 200 streams, {many} in one of 2,000");
}

#[test]
fn a_client_that_joins_where_another_has_left_takes_one_step() {
    let cost = |crowd: usize| {
        let mut w = roomy(|route| route.share = Share::Principal);
        let clients: Vec<usize> = (0..crowd).map(|_| w.client_with(GET_STREAM)).collect();
        w.say(w.up(0), &format!("{STREAM}{}", chunk(&event(1))));
        // Places in the middle are free, and the last one is taken.
        let leaves = most_steps(&mut w, |w| clients[1..crowd - 1].iter().for_each(|c| w.rst(*c)));
        let joins = most_steps(&mut w, |w| {
            (2..crowd).for_each(|_| {
                w.client_with(GET_STREAM);
            });
        });
        assert_eq!((w.ups.len(), w.machine.connections()), (1, crowd + 1));
        leaves.max(joins)
    };
    let (few, many) = (cost(50), cost(1_000));
    assert!(many < 2 * few, "{few} steps among 50 readers, {many} among 1,000");
}
