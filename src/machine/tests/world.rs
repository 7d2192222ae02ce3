//! How the world works: the shell of the machine, and what must hold after each of its steps.
//!
//! In: what ends say. Out: bytes on their wires.
//! Laws: outputs are drained after each input; nothing is read that [`Machine::poll_read`] has no room for; a socket
//! that took less than it was given is not written to before it takes again.

use super::*;

/// How the world works.
impl World {
    pub(super) fn time(&mut self) {
        self.machine.handle(Input::Time, self.now);
        assert!(self.machine.poll_timeout().is_none_or(|at| at > self.now), "the shell would spin");
        self.pump();
    }

    /// Carries everything out until nothing moves.
    pub(crate) fn pump(&mut self) {
        loop {
            self.settle();
            let Some(end) = self.reading.pop_front() else { break };
            self.read(end);
        }
        self.machine.check_settled();
    }

    fn settle(&mut self) {
        loop {
            while let Some(output) = self.machine.poll_output() {
                self.trace.output(&output);
                self.carry_out(output);
            }
            if let Some((conn, stands)) = self.news.pop_front() {
                let why = ConnectError::Refused;
                let input = if stands { Input::Connected { conn } } else { Input::ConnectFailed { conn, why } };
                self.machine.handle(input, self.now);
            } else if let Some(end) = self.flushing.pop_front() {
                self.write(end);
            } else {
                return;
            }
        }
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Adopt { conn } => self.add(conn, true),
            Output::Refuse => self.refused += 1,
            Output::Connect { conn, .. } => {
                self.ups.push(self.ends.len());
                self.dialled.push(self.now);
                self.add(conn, self.dial == Dial::Accept);
                match self.dial {
                    Dial::Accept => self.news.push_back((conn, true)),
                    Dial::Refuse => self.news.push_back((conn, false)),
                    Dial::Hang => {}
                }
            }
            Output::Flush { conn } => self.flushing.extend(self.by_key.get(&conn.to_bits())),
            Output::ReadAgain { conn } => self.reading.extend(self.by_key.get(&conn.to_bits())),
            Output::CapSendBuffer { conn, bytes } => self.end_of(conn).cap = Some(bytes),
            Output::ShutdownWrite { conn } => self.end_of(conn).state = State::Shut,
            Output::Close { conn, how } => {
                self.end_of(conn).state = if how == Close::Reset { State::Reset } else { State::Closed };
                self.by_key.remove(&conn.to_bits());
            }
            Output::Lookup(lookup) => self.lookups.push(lookup),
            Output::Notice(notice) => self.notices.push(notice),
        }
    }

    fn add(&mut self, key: ConnKey, established: bool) {
        self.by_key.insert(key.to_bits(), self.ends.len());
        self.ends.push(End {
            key,
            state: State::Open,
            wire: Vec::new(),
            said: VecDeque::new(),
            takes: None,
            writable: true,
            established,
            cap: None,
        });
    }

    fn end_of(&mut self, conn: ConnKey) -> &mut End {
        let end = self.by_key[&conn.to_bits()];
        &mut self.ends[end]
    }

    pub(crate) fn is_live(&self, end: usize) -> bool {
        matches!(self.ends[end].state, State::Open | State::Shut) && self.ends[end].established
    }

    fn read(&mut self, end: usize) {
        while self.is_live(end) && !self.ends[end].said.is_empty() {
            let conn = self.ends[end].key;
            let room = self.machine.poll_read(conn);
            if room == 0 {
                return;
            }
            let said = &mut self.ends[end].said;
            let input = match said.pop_front() {
                Some(Said::Bytes(mut bytes)) => {
                    if bytes.len() > room {
                        said.push_front(Said::Bytes(bytes.split_off(room)));
                    }
                    self.machine.handle(Input::Data { conn, bytes: &bytes }, self.now);
                    self.settle();
                    continue;
                }
                Some(Said::Reset) => Input::Reset { conn },
                _ => Input::Eof { conn },
            };
            self.machine.handle(input, self.now);
            self.settle();
        }
    }

    pub(super) fn write(&mut self, end: usize) {
        if !self.is_live(end) || !self.ends[end].writable {
            return;
        }
        let e = &mut self.ends[end];
        let all = self.machine.transmit(e.key).concat();
        assert!(e.state == State::Open || all.is_empty(), "bytes behind the end");
        let n = e.takes.map_or(all.len(), |takes| takes.min(all.len()));
        e.takes = e.takes.map(|takes| takes - n);
        e.wire.extend_from_slice(&all[..n]);
        e.writable = n == all.len();
        self.trace.sent(e.key.to_bits(), &all[..n]);
        self.machine.handle(Input::Written { conn: e.key, bytes: n }, self.now);
    }
}

impl Drop for World {
    /// All clients leave: nothing may be left of them.
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        for end in 0..self.ends.len() {
            if self.is_live(end) && !self.ups.contains(&end) {
                self.machine.handle(Input::Eof { conn: self.ends[end].key }, self.now);
                self.pump();
            }
        }
        self.pass_secs(40);
        self.pass(self.machine.session_idle());
        self.trace.tell_world();
        self.machine.check_empty();
    }
}
