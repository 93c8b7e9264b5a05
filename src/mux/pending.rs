//! The slab of open calls: O(1) to open, find and free, no allocation once warm. Knows no time.
//!
//! A slot is reused under the next generation, so an id names one call for the life of the connection. What a slot remembers after it was
//! freed is how its last call ended, which tells a repeated answer from a late one.

use super::{
    WireId,
    wire_id::{GENERATION_MAX, SLOTS_MAX},
};

/// At most `len_max` values, each under an id never given before.
#[derive(Debug)]
pub struct Pending<T> {
    slots: Vec<Slot<T>>,
    /// Freed slots, the last one freed on top: its memory is warm.
    free: Vec<u16>,
    len: usize,
    len_max: usize,
}

#[derive(Debug)]
struct Slot<T> {
    /// The last one given.
    generation: u64,
    state: State<T>,
}

#[derive(Debug)]
enum State<T> {
    Open(T),
    Freed(End),
}

/// How a call left the slab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Answered,
    GivenUp,
}

/// What an id that is not open stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Past {
    /// Never given on this connection.
    Unknown,
    /// Its call was answered, and its slot not reused since.
    Repeated,
    /// Its call is over.
    Late,
}

impl<T> Pending<T> {
    /// `len_max` is cut at the number of slots an id can name.
    pub fn new(len_max: usize) -> Self {
        Self { slots: Vec::new(), free: Vec::new(), len: 0, len_max: len_max.min(SLOTS_MAX) }
    }

    /// # Errors
    /// Hands the value back when `len_max` are open.
    pub fn open(&mut self, value: T) -> Result<WireId, T> {
        if self.len >= self.len_max {
            return Err(value);
        }
        while let Some(index) = self.free.pop() {
            if let Some(slot) = self.slots.get_mut(usize::from(index)) {
                slot.generation += 1;
                slot.state = State::Open(value);
                self.len += 1;
                return Ok(WireId::new(index, slot.generation));
            }
        }
        let Ok(index) = u16::try_from(self.slots.len()) else { return Err(value) };
        self.slots.push(Slot { generation: 1, state: State::Open(value) });
        self.len += 1;
        Ok(WireId::new(index, 1))
    }

    pub fn get_mut(&mut self, id: WireId) -> Option<&mut T> {
        match self.slots.get_mut(id.slot()) {
            Some(Slot { generation, state: State::Open(value) }) if *generation == id.generation() => Some(value),
            _ => None,
        }
    }

    /// Every open value, in slot order.
    pub fn iter(&self) -> impl Iterator<Item = (WireId, &T)> {
        (0_u16..=u16::MAX).zip(&self.slots).filter_map(|(index, slot)| match &slot.state {
            State::Open(value) => Some((WireId::new(index, slot.generation), value)),
            State::Freed(_) => None,
        })
    }

    /// Frees the slot; `Some` once for each id given.
    pub fn free(&mut self, id: WireId, end: End) -> Option<T> {
        self.get_mut(id)?;
        self.free_slot(id.slot(), end).map(|(_, value)| value)
    }

    /// Frees every open call that `is_over` picks, in slot order.
    pub fn free_where(&mut self, mut is_over: impl FnMut(&T) -> bool, freed: &mut Vec<(WireId, T)>) {
        for index in 0..self.slots.len() {
            let over = matches!(self.slots.get(index), Some(Slot { state: State::Open(value), .. }) if is_over(value));
            if over {
                freed.extend(self.free_slot(index, End::GivenUp));
            }
        }
    }

    /// What an id that is not open stands for.
    pub fn past(&self, id: WireId) -> Past {
        match self.slots.get(id.slot()) {
            Some(slot) if id.generation() == 0 || id.generation() > slot.generation => Past::Unknown,
            Some(slot) if id.generation() == slot.generation && matches!(slot.state, State::Freed(End::Answered)) => Past::Repeated,
            Some(_) => Past::Late,
            None => Past::Unknown,
        }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn free_slot(&mut self, index: usize, end: End) -> Option<(WireId, T)> {
        let number = u16::try_from(index).ok()?;
        let slot = self.slots.get_mut(index)?;
        let State::Open(value) = std::mem::replace(&mut slot.state, State::Freed(end)) else { return None };
        let id = WireId::new(number, slot.generation);
        self.len -= 1;
        // A slot out of generations is retired: an id is never given twice.
        if slot.generation < GENERATION_MAX {
            self.free.push(number);
        }
        Some((id, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_open_once_and_its_slot_is_reused_under_another_id() {
        let mut pending = Pending::new(1);
        let first = pending.open('a').unwrap();
        assert_eq!(pending.open('b'), Err('b'));
        assert_eq!(pending.free(first, End::Answered), Some('a'));
        assert_eq!(pending.free(first, End::Answered), None);
        let second = pending.open('c').unwrap();
        assert_eq!((first.slot(), first.generation() + 1), (second.slot(), second.generation()));
        assert_eq!(pending.get_mut(first), None);
        assert_eq!(pending.get_mut(second), Some(&mut 'c'));
        assert_eq!(pending.slots.len(), 1);
    }

    #[test]
    fn the_past_of_an_id_is_told() {
        let mut pending = Pending::new(4);
        let reused = pending.open(()).unwrap();
        pending.free(reused, End::Answered);
        let answered = pending.open(()).unwrap();
        let given_up = pending.open(()).unwrap();
        pending.free(answered, End::Answered);
        pending.free(given_up, End::GivenUp);
        for (id, past) in [
            (reused, Past::Late),
            (answered, Past::Repeated),
            (given_up, Past::Late),
            (WireId::new(answered.slot() as u16, 3), Past::Unknown),
            (WireId::new(9, 1), Past::Unknown),
            (WireId::parse(b"0").unwrap(), Past::Unknown),
        ] {
            assert_eq!(pending.past(id), past, "{id}");
        }
    }

    #[test]
    fn a_slot_out_of_generations_is_retired() {
        let mut pending = Pending::new(1);
        let first = pending.open(1).unwrap();
        pending.slots[0].generation = GENERATION_MAX - 1;
        assert_eq!(pending.get_mut(first), None);
        pending.free_where(|_| true, &mut Vec::new());
        let last = pending.open(2).unwrap();
        assert_eq!(last, WireId::new(0, GENERATION_MAX));
        pending.free(last, End::Answered);
        let other = pending.open(3).unwrap();
        assert_eq!(other, WireId::new(1, 1), "a fresh slot takes the place of the retired one");
        assert_eq!(pending.past(last), Past::Repeated);
    }

    #[test]
    fn more_calls_than_slots_are_refused() {
        let mut pending = Pending::new(usize::MAX);
        for _ in 0..SLOTS_MAX {
            pending.open(()).unwrap();
        }
        assert_eq!(pending.open(()), Err(()));
    }
}
