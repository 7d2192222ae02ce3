//! Many doubly linked lists over one array of links.
//!
//! In: numbers of nodes. Out: which list they are in, and in what order. The first numbers are the heads of the lists,
//! all others are nodes; each node is in one list or in none.
//! Laws: a list is a ring through its head, so that a node can leave without knowing its list; every operation but
//! making nodes takes constant time; the array grows with the highest node and never shrinks.

#[derive(Clone, Copy)]
pub(super) struct Link {
    prev: u32,
    next: u32,
}

/// INVARIANT: all links stay inside the array, and `links[links[n].next].prev == n` for each `n`. So no index below is
/// out of bounds, as long as callers pass heads, and nodes that [`Lists::make`] has made.
pub(super) struct Lists {
    links: Vec<Link>,
}

impl Lists {
    /// Makes `heads` empty lists, numbered from 0. The first node has the number `heads`.
    pub(super) fn new(heads: u32) -> Self {
        Self { links: (0..heads).map(|head| Link { prev: head, next: head }).collect() }
    }

    /// Makes all nodes up to and including `node`. New ones are in no list.
    pub(super) fn make(&mut self, node: u32) {
        for new in self.links.len() as u32..=node {
            self.links.push(Link { prev: new, next: new });
        }
    }

    /// Puts a node that is in no list at the end of one.
    pub(super) fn push(&mut self, head: u32, node: u32) {
        let last = self.links[head as usize].prev;
        self.join(last, node);
        self.join(node, head);
    }

    /// Takes a node out of its list. Returns the list when that leaves it empty.
    pub(super) fn unlink(&mut self, node: u32) -> Option<u32> {
        let Link { prev, next } = self.links[node as usize];
        self.join(prev, next);
        self.join(node, node);
        // Only a lone node has the same neighbour on both sides, and that is the head.
        (prev == next && prev != node).then_some(prev)
    }

    /// The node at the front of a list.
    pub(super) fn first(&self, head: u32) -> Option<u32> {
        let first = self.links[head as usize].next;
        (first != head).then_some(first)
    }

    /// Moves all nodes of `from`, in their order, to the end of `to`.
    pub(super) fn append(&mut self, from: u32, to: u32) {
        let Link { prev: last, next: first } = self.links[from as usize];
        if first == from {
            return;
        }
        let end = self.links[to as usize].prev;
        self.join(end, first);
        self.join(last, to);
        self.join(from, from);
    }

    fn join(&mut self, left: u32, right: u32) {
        self.links[left as usize].next = right;
        self.links[right as usize].prev = left;
    }

    /// The nodes of a list, in order; checks both directions on the way.
    #[cfg(test)]
    pub(super) fn nodes(&self, head: u32) -> Vec<u32> {
        let mut nodes = Vec::new();
        let mut at = head;
        loop {
            let next = self.links[at as usize].next;
            assert_eq!(self.links[next as usize].prev, at);
            if next == head {
                return nodes;
            }
            nodes.push(next);
            at = next;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Random;

    #[test]
    fn the_last_node_to_leave_names_its_list() {
        let mut lists = Lists::new(2);
        lists.make(3);
        lists.push(1, 2);
        lists.push(1, 3);
        assert_eq!(lists.unlink(2), None);
        assert_eq!(lists.unlink(3), Some(1));
        assert_eq!(lists.unlink(3), None);
    }

    #[test]
    fn lists_behave_like_vectors() {
        const HEADS: u32 = 4;
        const NODES: u64 = 12;
        let mut random = Random::new(3);
        let mut lists = Lists::new(HEADS);
        lists.make(HEADS + NODES as u32 - 1);
        let mut twin: Vec<Vec<u32>> = vec![Vec::new(); HEADS as usize];
        for _ in 0..5_000 {
            let head = random.below(u64::from(HEADS)) as usize;
            let node = HEADS + random.below(NODES) as u32;
            let home = twin.iter().position(|list| list.contains(&node));
            match (random.below(8), home) {
                (0, _) => {
                    let other = (head + 1) % HEADS as usize;
                    lists.append(head as u32, other as u32);
                    let mut moved = std::mem::take(&mut twin[head]);
                    twin[other].append(&mut moved);
                }
                (_, Some(home)) => {
                    twin[home].retain(|&n| n != node);
                    assert_eq!(lists.unlink(node), twin[home].is_empty().then_some(home as u32));
                }
                (_, None) => {
                    lists.push(head as u32, node);
                    twin[head].push(node);
                }
            }
            for (head, list) in twin.iter().enumerate() {
                assert_eq!(&lists.nodes(head as u32), list);
                assert_eq!(lists.first(head as u32), list.first().copied());
            }
        }
    }
}
