//! Transforming an operation on JSON by another one that was made from the same value.
//!
//! Where the two cannot both have their way, what is removed stays removed, and of two that set one key the left one wins;
//! each such place is a clash, and its loser's part is taken out of the result.

use super::{Edit, Key, Put, Removal, TreeOp, shift::Shift};
use crate::{
    ot::{Mismatch, Side},
    value::{Value, pointer},
};
use std::collections::BTreeSet;

/// An operation as it has to be after another one.
#[derive(Debug, Clone, PartialEq)]
pub struct Transformed {
    pub op: TreeOp,
    /// Where not both could have their way; the first one is what `ot-json1` reports.
    pub clashes: Vec<Clash>,
}

/// A place where two operations cannot both have their way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clash {
    /// JSON pointer into the value that both were made from; `-` for what is new in a list.
    pub path: String,
    pub class: Class,
    /// What the two put there, as far as it is a whole value: own first. `None` is a removal or an edit.
    pub values: [Option<Value>; 2],
}

/// How operations clash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// One removes what the other changes.
    RemovedContent,
    /// Both set one key.
    Collision,
}

impl Class {
    /// The number that `ot-json1` has for it.
    pub fn number(self) -> u64 {
        match self {
            Self::RemovedContent => 1,
            Self::Collision => 2,
        }
    }
}

impl TreeOp {
    /// This operation as it has to be after `other`, which was made from the same value.
    ///
    /// # Errors
    /// [`Mismatch::OtherType`] if the two cannot have been made from one value.
    pub fn transformed(&self, other: &Self, side: Side) -> Result<Transformed, Mismatch> {
        if let (Some(own), Some(other)) = (self.as_text_alone(), other.as_text_alone()) {
            return Ok(Transformed { op: Self::of_text(own.transformed(other, side)), clashes: Vec::new() });
        }
        let mut meeting = Meeting { side, removing: Vec::new(), putting: Vec::new() };
        let own = Half { removal: Some(&self.removal), put: Some(&self.put) };
        let (removal, put) =
            meeting.meet("", own, Half { removal: Some(&other.removal), put: Some(&other.put) })?;
        let clashes = meeting.removing.into_iter().chain(meeting.putting).collect();
        Ok(Transformed { op: Self { removal, put }, clashes })
    }
}

/// What one operation does to a value and what is below it.
#[derive(Debug, Clone, Copy, Default)]
struct Half<'a> {
    removal: Option<&'a Removal>,
    put: Option<&'a Put>,
}

impl<'a> Half<'a> {
    fn removes(self) -> bool {
        self.removal.is_some_and(|removal| removal.is_whole)
    }

    fn inserts(self) -> Option<&'a Value> {
        self.put.and_then(|put| put.insert.as_ref())
    }

    fn edits(self) -> Option<&'a Edit> {
        self.put.and_then(|put| put.edit.as_ref())
    }

    /// Whether it changes the value that was there before, or something below it.
    fn changes(self) -> bool {
        self.put.is_some_and(|put| put.insert.is_none() && !put.is_empty())
    }

    fn removals(self) -> impl Iterator<Item = (&'a Key, &'a Removal)> {
        self.removal.into_iter().flat_map(|removal| &removal.below)
    }

    fn puts(self) -> impl Iterator<Item = (&'a Key, &'a Put)> {
        self.put.into_iter().flat_map(|put| &put.below)
    }

    fn field(self, key: &Key) -> Self {
        Self {
            removal: self.removal.and_then(|removal| removal.below.get(key)),
            put: self.put.and_then(|put| put.below.get(key)),
        }
    }

    /// What it does to an item of a list that it does not insert.
    fn item(self, before: usize, shift: &Shift) -> Self {
        Self {
            removal: self.removal.and_then(|removal| removal.below.get(&Key::Index(before))),
            put: shift.after(before).and_then(|after| self.put?.below.get(&Key::Index(after))),
        }
    }

    fn shift(self) -> Shift {
        let removed = self.removal.into_iter().flat_map(Removal::items);
        Shift::new(removed, self.put.into_iter().flat_map(Put::items))
    }

    /// What is put below what is inserted: there is no value from before under it.
    fn inserted(self) -> Self {
        Self { removal: None, put: self.put }
    }
}

/// Two operations on their way down a value.
struct Meeting {
    /// The side of the operation that is transformed.
    side: Side,
    /// Clashes in the order in which `ot-json1` comes by them: first what the own operation removes ...
    removing: Vec<Clash>,
    /// ... then what it puts.
    putting: Vec<Clash>,
}

impl Meeting {
    /// What is left of `own` after `other`: removals by where things are after `other`, the rest by where they are in the
    /// end.
    fn meet(&mut self, path: &str, own: Half<'_>, other: Half<'_>) -> Result<(Removal, Put), Mismatch> {
        let (mut removal, mut put) = (Removal::default(), Put::default());
        match (own.removes(), other.removes()) {
            (true, true) => {}
            (false, true) => {
                if own.changes() {
                    self.putting.push(clash(path, Class::RemovedContent, [None, other.inserts()]));
                }
            }
            (true, false) => {
                removal.is_whole = true;
                if other.changes() {
                    self.removing.push(clash(path, Class::RemovedContent, [own.inserts(), None]));
                }
            }
            (false, false) if own.inserts().is_none() && other.inserts().is_none() => {
                (removal, put) = self.meet_below(path, own, other)?;
            }
            (false, false) => {}
        }
        match (own.inserts(), other.inserts()) {
            (Some(value), None) => {
                put = own.put.cloned().unwrap_or_default();
                debug_assert_eq!(put.insert.as_ref(), Some(value));
            }
            (Some(value), Some(theirs)) if value == theirs => {
                let below = self.meet_below(path, own.inserted(), other.inserted())?;
                (removal, put) = below;
            }
            (Some(value), Some(theirs)) => {
                self.putting.push(clash(path, Class::Collision, [Some(value), Some(theirs)]));
                if self.side == Side::Left {
                    removal = Removal::whole();
                    put = own.put.cloned().unwrap_or_default();
                }
            }
            (None, _) => {}
        }
        Ok((removal, put))
    }

    /// The same for a value that both leave where it is: its edit, and what is below it.
    fn meet_below(&mut self, path: &str, own: Half<'_>, other: Half<'_>) -> Result<(Removal, Put), Mismatch> {
        let (mut removal, mut put) = (Removal::default(), Put::default());
        put.edit = match (own.edits(), other.edits()) {
            (Some(edit), Some(theirs)) => Some(edit.transformed(theirs, self.side)?),
            (edit, _) => edit.cloned(),
        };
        put.edit = put.edit.filter(|edit| !edit.is_noop());
        self.meet_items(path, own, other, &mut removal, &mut put)?;
        let keys = own.removals().map(|(key, _)| key).chain(own.puts().map(|(key, _)| key));
        let names: BTreeSet<&Key> = keys.filter(|key| key.as_index().is_none()).collect();
        for key in names {
            let path = pointer(path, &key.to_step());
            let (removed, changed) = self.meet(&path, own.field(key), other.field(key))?;
            removal.set(key.clone(), removed);
            put.set(key.clone(), changed);
        }
        Ok((removal, put))
    }

    /// The items of a list: those that were there before meet, and those that are new are put between them.
    fn meet_items(
        &mut self,
        path: &str,
        own: Half<'_>,
        other: Half<'_>,
        removal: &mut Removal,
        put: &mut Put,
    ) -> Result<(), Mismatch> {
        let shifts = [own.shift(), other.shift()];
        let order = Order::new([own, other], &shifts, self.side);
        for before in staying_items(own, &shifts[0]) {
            let path = pointer(path, &before.to_string());
            let (mine, theirs) = (own.item(before, &shifts[0]), other.item(before, &shifts[1]));
            let (removed, changed) = self.meet(&path, mine, theirs)?;
            if let Some(after) = shifts[1].after(before) {
                removal.set(Key::Index(after), removed);
            }
            put.set(Key::Index(order.index_of_item(before)), changed);
        }
        let inserted = own.puts().filter(|(_, put)| put.insert.is_some());
        for (nth, (_, new)) in inserted.filter(|(key, _)| key.as_index().is_some()).enumerate() {
            put.set(Key::Index(order.index_of_new(nth)), new.clone());
        }
        Ok(())
    }
}

/// The items from before that the operation removes or changes, in order.
fn staying_items(own: Half<'_>, shift: &Shift) -> BTreeSet<usize> {
    let removed = own.removals().filter_map(|(key, _)| key.as_index());
    let changed = own.puts().filter_map(|(key, _)| shift.before(key.as_index()?));
    removed.chain(changed).collect()
}

/// The order of a list's items when both operations have been applied.
#[derive(Debug)]
struct Order {
    /// Items from before that either removes, in order.
    removed: Vec<usize>,
    /// Before which item each new one stands, in order: own and the other's.
    own: Vec<usize>,
    other: Vec<usize>,
    side: Side,
}

impl Order {
    /// Where items are removed around what is new, the left operation's stands before them all, and the right one's
    /// behind them. An item that one edits and the other removes is gone for both.
    fn new(halves: [Half<'_>; 2], shifts: &[Shift; 2], side: Side) -> Self {
        let gone = |at: usize, before: usize| {
            let edits = || halves[at].item(before, &shifts[at]).edits().is_some();
            shifts[at].removes(before) || (shifts[1 - at].removes(before) && edits())
        };
        let places = |at: usize, side: Side| {
            let items = halves[at].put.into_iter().flat_map(Put::items);
            // Where the last one could have stood first, and where it stands: whoever comes by there goes the same way.
            let mut way = None;
            let place = |inserted: usize| {
                let (first, last) = shifts[at].gap(inserted);
                let (start, stands) = match side {
                    Side::Left => (first, leftmost(first, way, |before| gone(at, before))),
                    Side::Right => (last, rightmost(last, way, |before| gone(at, before))),
                };
                way = Some((start, stands));
                stands
            };
            items.map(place).collect::<Vec<_>>()
        };
        let removals = halves.into_iter().filter_map(|half| half.removal);
        let removed: BTreeSet<usize> = removals.flat_map(Removal::items).collect();
        let (own, other) = (places(0, side), places(1, side.other()));
        Self { removed: removed.into_iter().collect(), own, other, side }
    }

    fn n_staying(&self, before: usize) -> usize {
        before - self.removed.partition_point(|removed| *removed < before)
    }

    fn index_of_item(&self, before: usize) -> usize {
        let n_before = |new: &[usize]| new.partition_point(|place| *place <= before);
        self.n_staying(before) + n_before(&self.own) + n_before(&self.other)
    }

    fn index_of_new(&self, nth: usize) -> usize {
        let place = self.own[nth];
        let others = self.other.partition_point(|other| match self.side {
            Side::Left => *other < place,
            Side::Right => *other <= place,
        });
        self.n_staying(place) + nth + others
    }
}

/// How far down one gets from `start` over items that are gone. `way` is how far one got from an earlier start, which was
/// no greater.
fn leftmost(start: usize, way: Option<(usize, usize)>, gone: impl Fn(usize) -> bool) -> usize {
    let mut at = start;
    loop {
        match way {
            Some((earlier, end)) if at == earlier => return end,
            _ if at > 0 && gone(at - 1) => at -= 1,
            _ => return at,
        }
    }
}

/// The same, up from `start`.
fn rightmost(start: usize, way: Option<(usize, usize)>, gone: impl Fn(usize) -> bool) -> usize {
    match way {
        Some((_, end)) if start <= end => end,
        _ => (start..).find(|at| !gone(*at)).unwrap_or(start),
    }
}

fn clash(path: &str, class: Class, values: [Option<&Value>; 2]) -> Clash {
    Clash { path: path.to_owned(), class, values: values.map(|value| value.cloned()) }
}
