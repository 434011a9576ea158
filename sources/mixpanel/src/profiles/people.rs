//! Who has come with the pages so far.

use std::collections::HashSet;

/// Hashes of their ids as they were written.
#[derive(Default)]
pub(super) struct People {
    seen: HashSet<u64>,
}

impl People {
    /// So many are remembered, in some 70 MB; beyond, the first of each page,
    /// by which a page that is repeated is known all the same.
    const MOST: usize = 3_500_000;

    /// Remembers the people of a page, or none of them and returns how many
    /// have come before.
    pub(super) fn admit(&mut self, ids: &[u64]) -> usize {
        let room = if self.seen.len() < People::MOST {
            ids.len()
        } else {
            ids.len().min(1)
        };
        let mut repeated = 0;
        let mut new = Vec::with_capacity(room);
        for (n, id) in ids.iter().enumerate() {
            if self.seen.contains(id) {
                repeated += 1;
            } else if n < room {
                self.seen.insert(*id);
                new.push(*id);
            }
        }
        if repeated > 0 {
            for id in new {
                self.seen.remove(&id);
            }
        }
        repeated
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_twice_is_found_and_the_page_can_be_asked_for_again() {
        let mut people = People::default();
        assert_eq!(people.admit(&[1, 2]), 0);
        assert_eq!(people.admit(&[3, 2, 1]), 2);
        assert_eq!(people.admit(&[3, 4]), 0);
        assert_eq!(people.admit(&[5, 5]), 1);
        assert_eq!(people.admit(&[]), 0);
    }

    #[test]
    fn a_page_that_is_repeated_is_found_among_any_number() {
        let mut people = People::default();
        let pages = People::MOST as u64 / 1000 + 10;
        let page = |n: u64| (n * 1000..(n + 1) * 1000).collect::<Vec<_>>();
        for n in 0..pages {
            assert_eq!(people.admit(&page(n)), 0);
        }
        assert!(people.seen.len() < People::MOST + 1000);
        assert!(people.admit(&page(pages - 1)) > 0);
        assert_eq!(people.admit(&page(0)), 1000);
    }
}
