//! The lists beside plain vectors.

use super::*;
use crate::base::Random;

fn key(n: u64) -> ExchangeKey {
    ExchangeKey::from_bits(n)
}

/// A stream as a vector of them knows it: key, session, principal, address.
type Plain = (u64, u128, u64, u64);

#[test]
fn each_list_is_what_a_plain_vector_holds() {
    let mut random = Random::new(5);
    let (mut unread, mut plain) = (Unread::default(), Vec::<Plain>::new());
    for n in 0..4_000 {
        if random.below(5) < 2 && !plain.is_empty() {
            let at = random.below(plain.len() as u64) as usize;
            unread.remove(key(plain.remove(at).0));
        } else {
            let (session, principal, address) = (random.below(4).into(), random.below(3), random.below(3));
            plain.push((n, session, principal, address));
            unread.add(key(n), session, Holders { principal, address });
        }
        check(&unread, &plain);
    }
}

fn check(unread: &Unread, plain: &[Plain]) {
    let of = |is: &dyn Fn(&Plain) -> bool| plain.iter().filter(|s| is(s)).map(|s| key(s.0)).collect::<Vec<_>>();
    assert_eq!(unread.len(), plain.len());
    let mut lists = vec![(Holder::All, of(&|_| true))];
    for n in 0..4u64 {
        lists.push((Holder::session(n.into()), of(&|s| s.1 == u128::from(n))));
        lists.push((Holder::Principal(n), of(&|s| s.2 == n)));
        lists.push((Holder::Address(n), of(&|s| s.3 == n)));
    }
    for (holder, mut keys) in lists {
        assert_eq!((unread.len_of(holder), unread.oldest_of(holder)), (keys.len(), keys.first().copied()));
        assert_eq!(unread.of(holder).collect::<Vec<_>>(), keys, "{holder:?}");
        keys.reverse();
        assert_eq!(unread.newest_of(holder).collect::<Vec<_>>(), keys, "{holder:?}");
    }
    let addresses = unread.fullest.iter().map(|(n, _)| n).sum::<usize>();
    assert_eq!(addresses, plain.len());
}

#[test]
fn an_address_with_more_than_its_share_goes_first() {
    let mut unread = Unread::default();
    let mut add = |n: u64, address| unread.add(key(n), n.into(), Holders { principal: n, address });
    add(0, 1);
    add(1, 2);
    add(2, 2);
    assert_eq!(unread.crowd(), Holder::All);
    unread.add(key(3), 3, Holders { principal: 3, address: 2 });
    assert_eq!(unread.crowd(), Holder::Address(2));
}
