//! Bytes to characters, piece by piece. Decides what becomes of a character that is cut by a chunk end (it waits)
//! and of bytes that are no UTF-8 (U+FFFD, exactly as `String::from_utf8_lossy` does on the whole); knows nothing of
//! recordings.

use std::str;

/// Holds the beginning of a character until its end arrives.
#[derive(Clone, Debug, Default)]
pub struct Utf8Carry {
    held: [u8; 4],
    len: usize,
}

impl Utf8Carry {
    /// Decodes `bytes` after what is held; `emit` gets the text in order. Returns how many invalid sequences
    /// became U+FFFD. An incomplete character at the end is held back.
    pub fn feed(&mut self, bytes: &[u8], emit: &mut (impl FnMut(&str) + ?Sized)) -> usize {
        let mut replaced = 0;
        let mut rest = bytes;
        while self.len > 0 {
            let Some((first, after)) = rest.split_first() else { return replaced };
            if let Some(slot) = self.held.get_mut(self.len) {
                *slot = *first;
            }
            match str::from_utf8(self.held.get(..=self.len).unwrap_or_default()) {
                Ok(text) => {
                    emit(text);
                    self.len = 0;
                    rest = after;
                }
                Err(error) if error.error_len().is_none() => {
                    self.len += 1;
                    rest = after;
                }
                // The new byte does not continue what is held: that is one invalid sequence, and the byte is
                // looked at again as the beginning of something else.
                Err(_) => replaced += self.finish(emit),
            }
        }
        loop {
            let error = match str::from_utf8(rest) {
                Ok(text) => {
                    if !text.is_empty() {
                        emit(text);
                    }
                    return replaced;
                }
                Err(error) => error,
            };
            let (valid, after) = rest.split_at(error.valid_up_to());
            if !valid.is_empty() {
                emit(str::from_utf8(valid).unwrap_or_default());
            }
            let Some(skip) = error.error_len() else {
                self.hold(after);
                return replaced;
            };
            emit("\u{fffd}");
            replaced += 1;
            rest = after.get(skip..).unwrap_or_default();
        }
    }

    /// No more bytes come: an incomplete character becomes U+FFFD. Returns 1 when there was one, else 0.
    pub fn finish(&mut self, emit: &mut (impl FnMut(&str) + ?Sized)) -> usize {
        if self.len == 0 {
            return 0;
        }
        self.len = 0;
        emit("\u{fffd}");
        1
    }

    /// Drops what is held.
    pub fn forget(&mut self) {
        self.len = 0;
    }

    fn hold(&mut self, tail: &[u8]) {
        self.len = 0;
        for (slot, byte) in self.held.iter_mut().zip(tail) {
            *slot = *byte;
            self.len += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(chunks: &[&[u8]]) -> String {
        let mut carry = Utf8Carry::default();
        let mut text = String::new();
        for chunk in chunks {
            carry.feed(chunk, &mut |t| text.push_str(t));
        }
        carry.finish(&mut |t| text.push_str(t));
        text
    }

    #[test]
    fn same_as_lossy_for_every_cut() {
        let samples: [&[u8]; 11] = [
            b"",
            b"plain",
            "h\u{e9}llo \u{20ac} \u{1f600}!".as_bytes(),
            b"\xff\xfe",
            b"a\xc3",
            b"a\xe2\x82",
            b"\xf0\x9f\x98",
            b"\xe2\x82\xe2\x82\xac",
            b"\xed\xa0\x80 lone surrogate",
            b"\xf0\x80\x80\xaf overlong \xc0\xaf",
            b"\xf0\x9f\x98\xf0\x9f\x98\x80\xc3\xc3\xa9",
        ];
        for sample in samples {
            let whole = String::from_utf8_lossy(sample).into_owned();
            for i in 0..=sample.len() {
                for j in i..=sample.len() {
                    let got = decode(&[&sample[..i], &sample[i..j], &sample[j..]]);
                    assert_eq!(got, whole, "{sample:x?} cut at {i} and {j}");
                }
            }
            let bytes: Vec<&[u8]> = sample.chunks(1).collect();
            assert_eq!(decode(&bytes), whole);
        }
    }

    #[test]
    fn counts_what_it_replaced() {
        for (bytes, expect) in
            [(&b"ok"[..], 0), (b"\xff", 1), (b"\xff\xfe", 2), (b"\xe2\x82", 0), ("\u{fffd}".as_bytes(), 0)]
        {
            assert_eq!(Utf8Carry::default().feed(bytes, &mut |_| ()), expect, "{bytes:x?}");
        }
    }
}
