//! Writes in a row: what several upstreams say is handed over first, and the clients' sockets are written then.
//!
//! Laws: late writes lose and repeat nothing, whatever else the clients do; two events of one stream go out as one
//! chunk; what is pending counts as not sent.

use super::*;
use crate::base::Random;

const STREAMS: usize = 6;

#[test]
fn writes_behind_the_reads_of_other_upstreams_lose_and_repeat_nothing() {
    for seed in 0..100 {
        let mut random = Random::new(seed);
        let mut w = world_with(|r, _| r.replay_events = 8 + seed as usize % 64);
        let ends: Vec<(usize, usize)> = (0..STREAMS).map(|_| w.streaming()).collect();
        let mut last = [1; STREAMS];
        for _ in 0..60 {
            let mut row = Vec::new();
            for (n, (_, u)) in ends.iter().enumerate() {
                // As much as the log has room for, however little the client takes.
                let said = chunk(&event(last[n] + 1));
                if random.below(2) == 0 && w.machine.poll_read(w.ends[*u].key) >= said.len() {
                    last[n] += 1;
                    row.push((*u, said));
                }
            }
            w.say_in_a_row(&row);
            let (c, _) = ends[random.below(STREAMS as u64) as usize];
            match random.below(6) {
                0 => w.takes(c, 0),
                1 => w.takes(c, random.below(100) as usize),
                2 => w.takes_all(c),
                3 => w.pass_ms(random.below(400)),
                _ => {}
            }
        }
        for (n, (c, u)) in ends.into_iter().enumerate() {
            w.takes_all(c);
            w.say(u, LAST);
            let (body, has_ended) = w.body(c);
            let all: String = (1..=last[n]).map(event).collect();
            assert_eq!((without_heartbeats(&body), has_ended), (all, true), "seed {seed}, stream {n}");
        }
    }
}

#[test]
fn an_end_behind_a_late_write_is_a_clean_one() {
    let mut w = world();
    let ((c, u), (d, v)) = (w.streaming(), w.streaming());
    w.say_in_a_row(&[(u, format!("{}{LAST}", chunk(&event(2)))), (v, format!("{}{LAST}", chunk(&event(2))))]);
    for end in [c, d] {
        assert_eq!(w.body(end), (event(1) + &event(2), true));
    }
}
