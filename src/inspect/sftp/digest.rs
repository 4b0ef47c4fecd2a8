//! What passed of one file in one direction: how many bytes, and the SHA-256 of the content when it passed from its
//! first byte to its last, each byte once. Pieces may overtake each other a little.

use std::collections::BTreeMap;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

/// Most pieces of one session that wait for an earlier one.
const LATE_PIECES_MAX: usize = 512;
/// Most bytes of them.
const LATE_BYTES_MAX: usize = 8 << 20;

/// What a session may still keep of pieces that came too early.
#[derive(Debug)]
pub(super) struct Room {
    pieces: usize,
    bytes: usize,
}

impl Default for Room {
    fn default() -> Self {
        Self { pieces: LATE_PIECES_MAX, bytes: LATE_BYTES_MAX }
    }
}

/// The content of one file that passes in one direction.
#[derive(Debug, Default)]
pub(super) struct Passing {
    hash: Sha256,
    /// Where the next byte of the hash stands in the file.
    next: u64,
    bytes: u64,
    void: bool,
    early: BTreeMap<u64, Vec<u8>>,
}

impl Passing {
    /// Bytes that passed, those that came twice twice.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Where the content hashed so far ends; none when it is not known any more.
    pub(super) fn end(&self) -> Option<u64> {
        (!self.void && self.early.is_empty()).then_some(self.next)
    }

    /// The SHA-256 of the content from the start to [`Self::end`], in hex.
    pub(super) fn sha256(&self) -> String {
        self.hash.clone().finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The content is not what was hashed: something failed, or somebody else wrote.
    pub(super) fn make_void(&mut self, room: &mut Room) {
        self.void = true;
        room.pieces += self.early.len();
        room.bytes += self.early.values().map(Vec::len).sum::<usize>();
        self.early.clear();
    }

    /// `pieces` stand in the file at `offset`, one behind the other.
    pub(super) fn pass(&mut self, offset: u64, pieces: &[Bytes], room: &mut Room) {
        let length: usize = pieces.iter().map(Bytes::len).sum();
        self.bytes = self.bytes.saturating_add(length as u64);
        if self.void || length == 0 {
            return;
        }
        if offset == self.next {
            pieces.iter().for_each(|piece| self.hash.update(piece));
            self.next = self.next.saturating_add(length as u64);
            self.catch_up(room);
        } else if offset > self.next
            && room.pieces > 0
            && room.bytes >= length
            && !self.early.contains_key(&offset)
        {
            room.pieces -= 1;
            room.bytes -= length;
            self.early.insert(offset, pieces.concat());
        } else {
            self.make_void(room);
        }
    }

    fn catch_up(&mut self, room: &mut Room) {
        while let Some(first) = self.early.first_entry() {
            let offset = *first.key();
            if offset > self.next {
                return;
            }
            if offset < self.next {
                return self.make_void(room);
            }
            let piece = first.remove();
            room.pieces += 1;
            room.bytes += piece.len();
            self.hash.update(&piece);
            self.next = self.next.saturating_add(piece.len() as u64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Passes the pieces (offset, text); answers end and whether the hash is that of `whole`.
    fn check(pieces: &[(u64, &str)], end: Option<u64>, whole: &str) {
        let (mut passing, mut room) = (Passing::default(), Room::default());
        for (offset, text) in pieces {
            let halves = text.split_at(text.len() / 2);
            let halves = [halves.0, halves.1].map(|half| Bytes::copy_from_slice(half.as_bytes()));
            passing.pass(*offset, &halves, &mut room);
        }
        assert_eq!(passing.end(), end, "{pieces:?}");
        if end.is_some() {
            let direct: String = Sha256::digest(whole).iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(passing.sha256(), direct, "{pieces:?}");
        }
        assert_eq!(passing.bytes(), pieces.iter().map(|(_, text)| text.len() as u64).sum::<u64>());
        passing.make_void(&mut room);
        assert_eq!((room.pieces, room.bytes), (LATE_PIECES_MAX, LATE_BYTES_MAX), "room is given back");
    }

    #[test]
    fn content_that_passes_once_is_hashed_whatever_its_order() {
        check(&[], Some(0), "");
        check(&[(0, "abc"), (3, "def")], Some(6), "abcdef");
        check(&[(3, "def"), (6, "g"), (0, "abc")], Some(7), "abcdefg");
        check(&[(0, "ab"), (4, "ef"), (2, "cd")], Some(6), "abcdef");
        check(&[(0, "abc"), (3, "")], Some(3), "abc");
    }

    #[test]
    fn gaps_and_repetitions_have_no_hash() {
        check(&[(3, "def")], None, "");
        check(&[(0, "abc"), (4, "e")], None, "");
        check(&[(0, "abc"), (0, "abc")], None, "");
        check(&[(0, "abc"), (2, "cd")], None, "");
        check(&[(2, "cd"), (2, "cd"), (0, "ab")], None, "");
        check(&[(2, "cd"), (0, "abc")], None, "");
        check(&[(u64::MAX, "ab"), (0, "a")], None, "");
    }

    #[test]
    fn early_pieces_are_bounded_over_all_files() {
        let mut room = Room::default();
        let mut one = Passing::default();
        let mut two = Passing::default();
        for n in 0..LATE_PIECES_MAX as u64 {
            one.pass(10 + 2 * n, &[Bytes::from_static(b"x")], &mut room);
        }
        two.pass(10, &[Bytes::from_static(b"x")], &mut room);
        assert!(two.end().is_none() && room.pieces == 0);
        one.make_void(&mut room);
        assert_eq!((room.pieces, room.bytes), (LATE_PIECES_MAX, LATE_BYTES_MAX));
    }
}
