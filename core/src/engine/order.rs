//! The order in which rows reach the sink, for plans that keep theirs.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::room::Room;
use super::worker::Message;

/// Holds messages back until it is the turn of their unit.
pub(super) struct Order {
    /// The unit whose turn it is; `None` in a plan that keeps no order.
    head: Option<usize>,
    waiting: BTreeMap<usize, Vec<Message>>,
    room: Arc<Room>,
    workers: usize,
}

impl Order {
    pub(super) fn new(keeps: bool, room: Arc<Room>, workers: usize) -> Order {
        Order {
            head: keeps.then_some(0),
            waiting: BTreeMap::new(),
            room,
            workers,
        }
    }

    /// Returns how many units of a plan of `total` may have been given out by
    /// now: in order, later ones wait in memory for their turn, so they may be
    /// only so far ahead of it.
    pub(super) fn within(&self, total: usize) -> usize {
        self.head.map_or(total, |head| {
            total.min(head.saturating_add(self.workers * 2 + 2))
        })
    }

    /// Takes a message in, and returns those whose turn it is, in order.
    pub(super) fn admit(&mut self, message: Message) -> Vec<Message> {
        let (Some(mut head), Some(n)) = (self.head, message.writes_to()) else {
            return vec![message];
        };
        if n != head {
            self.waiting.entry(n).or_default().push(message);
            return Vec::new();
        }
        let mut turn = vec![message];
        while turn.last().is_some_and(Message::is_done) {
            head += 1;
            self.room.turn_to(head);
            let next = self.waiting.remove(&head).unwrap_or_default();
            if next.is_empty() {
                break;
            }
            turn.extend(next);
        }
        self.head = Some(head);
        turn
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::PartitionId;
    use crate::engine::worker::Spent;

    fn done(n: u32) -> Message {
        Message::Done {
            id: PartitionId(n),
            attempts: 1,
            spent: Spent::default(),
            counts: Box::default(),
            result: Ok(()),
        }
    }

    fn admitted(order: &mut Order, n: u32) -> Vec<usize> {
        let turn = order.admit(done(n));
        turn.iter().filter_map(Message::writes_to).collect()
    }

    #[test]
    fn what_is_ahead_waits_for_its_turn() {
        let (room, _doors) = Room::new(1, true);
        let mut order = Order::new(true, room, 1);
        assert_eq!(order.within(100), 4);
        assert_eq!(admitted(&mut order, 2), [0; 0]);
        assert_eq!(admitted(&mut order, 1), [0; 0]);
        assert_eq!(admitted(&mut order, 0), [0, 1, 2]);
        assert_eq!(order.within(100), 7);
        assert_eq!(admitted(&mut order, 3), [3]);
    }

    #[test]
    fn without_an_order_nothing_waits() {
        let (room, _doors) = Room::new(1, false);
        let mut order = Order::new(false, room, 1);
        assert_eq!(order.within(100), 100);
        assert_eq!(admitted(&mut order, 2), [2]);
    }
}
