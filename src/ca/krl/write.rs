//! Writes a list: for each set of serials whatever is shortest, a list, ranges or bitmaps. The same list is always the
//! same bytes.

use super::wire::{
    BITMAP_BITS_MAX, FORMAT, KEY_IDS, MAGIC, SECTION_CERTIFICATES, SECTION_FINGERPRINTS_SHA256, SECTION_KEYS,
    SERIAL_BITMAP, SERIAL_LIST, SERIAL_RANGE, put_section, put_string, put_u64,
};
use super::{Krl, OfAuthority, Serials};

/// Bytes of a range with its head.
const RANGE_BYTES: u64 = 5 + 16;
/// Bytes of a bitmap with its head and its first eight bits: first serial, length, bits.
const BITMAP_BYTES: u64 = 5 + 8 + 4 + 1;
/// Bytes of a serial in a list.
const LISTED_BYTES: u64 = 8;
/// A gap or a run wider than this costs more bits in a bitmap than two bitmaps and a range do.
const BITMAP_GAP_MAX: u64 = (BITMAP_BYTES + RANGE_BYTES) * 8;
/// Most runs that are tried as one bitmap, so that long lists take no long time.
const BITMAP_RUNS_MAX: usize = 512;

impl Krl {
    /// The list as sshd reads it.
    pub fn write(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_u64(&mut out, MAGIC);
        out.extend_from_slice(&FORMAT.to_be_bytes());
        put_u64(&mut out, self.version);
        put_u64(&mut out, self.generated);
        put_u64(&mut out, 0); // flags: there are none
        put_string(&mut out, &[]); // reserved
        put_string(&mut out, self.comment.as_bytes());
        for (ca, of) in &self.certificates {
            put_section(&mut out, SECTION_CERTIFICATES, &certificates(ca, of));
        }
        let strings = |all: &mut dyn Iterator<Item = &[u8]>| {
            let mut content = Vec::new();
            all.for_each(|bytes| put_string(&mut content, bytes));
            content
        };
        if !self.keys.is_empty() {
            put_section(&mut out, SECTION_KEYS, &strings(&mut self.keys.iter().map(Vec::as_slice)));
        }
        if !self.fingerprints.is_empty() {
            let content = strings(&mut self.fingerprints.iter().map(<[u8; 32]>::as_slice));
            put_section(&mut out, SECTION_FINGERPRINTS_SHA256, &content);
        }
        out
    }
}

fn certificates(ca: &[u8], of: &OfAuthority) -> Vec<u8> {
    let mut out = Vec::new();
    put_string(&mut out, ca);
    put_string(&mut out, &[]); // reserved
    for piece in pieces(&of.serials) {
        let mut content = Vec::new();
        let kind = match &piece {
            Piece::List(serials) => {
                serials.iter().for_each(|serial| put_u64(&mut content, *serial));
                SERIAL_LIST
            }
            Piece::Range(first, last) => {
                put_u64(&mut content, *first);
                put_u64(&mut content, *last);
                SERIAL_RANGE
            }
            Piece::Bitmap(runs) => {
                put_u64(&mut content, runs.first().map_or(1, |run| run.0));
                put_string(&mut content, &bitmap(runs));
                SERIAL_BITMAP
            }
        };
        put_section(&mut out, kind, &content);
    }
    if !of.key_ids.is_empty() {
        let mut content = Vec::new();
        of.key_ids.iter().for_each(|key_id| put_string(&mut content, key_id.as_bytes()));
        put_section(&mut out, KEY_IDS, &content);
    }
    out
}

/// One part of a set of serials.
#[derive(Debug, PartialEq, Eq)]
enum Piece {
    List(Vec<u64>),
    Range(u64, u64),
    /// First and last of each run.
    Bitmap(Vec<(u64, u64)>),
}

/// The shortest way to write the first runs of a set.
#[derive(Clone, Copy)]
struct Way {
    bytes: u64,
    /// As a bitmap of so many runs, the last ones; else the last run by itself.
    bitmap: Option<usize>,
}

/// How a set is cut into the parts that are shortest together: each run by itself, in a list or as a range, or some
/// neighbours as a bitmap.
fn pieces(serials: &Serials) -> Vec<Piece> {
    let runs: Vec<(u64, u64)> = serials.0.iter().map(|(first, last)| (*first, *last)).collect();
    let mut ways: Vec<Way> = Vec::with_capacity(runs.len());
    for at in 0..runs.len() {
        ways.push(shortest(&runs, &ways, at));
    }
    let (mut pieces, mut listed) = (Vec::new(), Vec::new());
    let mut rest = runs.as_slice();
    while let (Some((run, before)), Some(way)) = (rest.split_last(), ways.get(rest.len().wrapping_sub(1))) {
        match way.bitmap {
            Some(count) => {
                let (before, bits) = rest.split_at(rest.len().saturating_sub(count));
                pieces.push(Piece::Bitmap(bits.to_vec()));
                rest = before;
            }
            None => {
                if in_list(*run) <= RANGE_BYTES {
                    listed.extend((run.0..=run.1).rev());
                } else {
                    pieces.push(Piece::Range(run.0, run.1));
                }
                rest = before;
            }
        }
    }
    if !listed.is_empty() {
        pieces.push(Piece::List(listed));
    }
    pieces.reverse();
    pieces.iter_mut().for_each(|piece| {
        if let Piece::List(serials) = piece {
            serials.reverse();
        }
    });
    pieces
}

/// The shortest way to write the runs up to and with `at`, when those before it are known.
fn shortest(runs: &[(u64, u64)], ways: &[Way], at: usize) -> Way {
    let before = |at: usize| at.checked_sub(1).and_then(|at| ways.get(at)).map_or(0, |way| way.bytes);
    let Some(run) = runs.get(at) else { return Way { bytes: 0, bitmap: None } };
    let mut best = Way { bytes: before(at) + in_list(*run).min(RANGE_BYTES), bitmap: None };
    let mut next = *run;
    for (count, first) in (1..=BITMAP_RUNS_MAX).zip(runs.iter().take(at + 1).rev()) {
        let is_near = next.0 - first.0 <= BITMAP_GAP_MAX || count == 1;
        if !is_near || run.1 - first.0 >= BITMAP_BITS_MAX {
            break;
        }
        next = *first;
        let bytes = before((at + 1).saturating_sub(count)) + BITMAP_BYTES + (run.1 - first.0) / 8;
        if bytes < best.bytes {
            best = Way { bytes, bitmap: Some(count) };
        }
    }
    best
}

/// Bytes of a run in a list.
fn in_list((first, last): (u64, u64)) -> u64 {
    (last - first).saturating_add(1).saturating_mul(LISTED_BYTES)
}

/// The bits as a positive number (RFC 4251 `mpint`): the lowest bit of the last byte is the first serial.
fn bitmap(runs: &[(u64, u64)]) -> Vec<u8> {
    let (Some((start, _)), Some((_, end))) = (runs.first(), runs.last()) else { return Vec::new() };
    // Never wider than `BITMAP_BITS_MAX`, so it fits.
    let bytes = usize::try_from((end - start) / 8 + 1).unwrap_or_default();
    let mut little = vec![0_u8; bytes];
    for serial in runs.iter().flat_map(|(first, last)| *first..=*last) {
        let at = usize::try_from((serial - start) / 8).unwrap_or_default();
        if let Some(byte) = little.get_mut(at) {
            *byte |= 1 << ((serial - start) % 8);
        }
    }
    if little.last().is_some_and(|top| top & 0x80 != 0) {
        little.push(0);
    }
    little.reverse();
    little
}
