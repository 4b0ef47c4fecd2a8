//! Cuts a stream of bytes into packets, however the stream was cut before. A packet is given out whole and not copied;
//! what is too long is a fault before it has arrived.

use std::collections::VecDeque;

use bytes::{Buf, Bytes};

use super::Fault;
use super::wire::PACKET_MAX;

/// Pieces up to this length are not kept apart.
const SMALL: usize = 2048;

/// The bytes of one direction that are not a whole packet yet.
#[derive(Debug, Default)]
pub(super) struct Frames {
    chunks: VecDeque<Bytes>,
    held: usize,
}

/// One packet without its length field, in the pieces in which it came. Never empty.
#[derive(Debug, Default)]
pub(super) struct Rope {
    pieces: Vec<Bytes>,
    length: usize,
}

impl Frames {
    pub(super) fn push(&mut self, bytes: Bytes) {
        self.held += bytes.len();
        // Small pieces are put together: each one costs more than its bytes, and keeps what it was cut from.
        match self.chunks.back_mut() {
            Some(last) if last.len() + bytes.len() <= SMALL => *last = [&last[..], &bytes].concat().into(),
            _ if bytes.is_empty() => {}
            _ => self.chunks.push_back(bytes),
        }
    }

    /// The next whole packet; `Err` is the length that it claims when that is nothing or too much.
    pub(super) fn next(&mut self, too_long: Fault) -> Result<Option<Rope>, Fault> {
        let Some(length) = self.peek_length() else { return Ok(None) };
        if length == 0 || length > PACKET_MAX {
            return Err(too_long);
        }
        if self.held < 4 + length {
            return Ok(None);
        }
        drop(self.take(4));
        Ok(Some(self.take(length)))
    }

    fn peek_length(&self) -> Option<usize> {
        let mut four = [0; 4];
        let mut bytes = self.chunks.iter().flat_map(|chunk| chunk.iter());
        for place in &mut four {
            *place = *bytes.next()?;
        }
        usize::try_from(u32::from_be_bytes(four)).ok()
    }

    fn take(&mut self, count: usize) -> Rope {
        let mut rope = Rope::default();
        while rope.length < count {
            let Some(chunk) = self.chunks.front_mut() else { break };
            let piece = chunk.split_to(chunk.len().min(count - rope.length));
            if chunk.is_empty() {
                self.chunks.pop_front();
            }
            rope.length += piece.len();
            rope.pieces.push(piece);
        }
        self.held -= rope.length;
        rope
    }
}

impl Rope {
    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// The first byte: the packet's type.
    pub(super) fn kind(&self) -> u8 {
        self.pieces.first().and_then(|piece| piece.first()).copied().unwrap_or_default()
    }

    /// The first bytes, at most `count`, copied.
    pub(super) fn head(&self, count: usize) -> Vec<u8> {
        self.pieces.iter().flat_map(|piece| piece.iter()).take(count).copied().collect()
    }

    /// Everything in one piece; copied only when it came in several.
    pub(super) fn flat(mut self) -> Bytes {
        if self.pieces.len() == 1 {
            return self.pieces.pop().unwrap_or_default();
        }
        self.pieces.concat().into()
    }

    /// The pieces behind the first `count` bytes.
    pub(super) fn behind(mut self, mut count: usize) -> Vec<Bytes> {
        self.pieces.retain_mut(|piece| {
            let cut = count.min(piece.len());
            piece.advance(cut);
            count -= cut;
            !piece.is_empty()
        });
        self.pieces
    }
}
