//! Where a string may stop, many bytes at a time. Watched by the `scan` bench.

use memchr::memchr2;
use wide::u8x16;

/// Bytes looked at together where strings are long, a bit of a word for each.
pub(super) const WIDTH: usize = u64::BITS as usize;

/// A stop is what ends or complicates a string: a quote, a backslash or a control character. A bit for each, the first lowest.
#[inline(always)]
fn stops_of(block: &[u8; 16]) -> u32 {
    let block = u8x16::new(*block);
    let quote = block.simd_eq(u8x16::splat(b'"'));
    let backslash = block.simd_eq(u8x16::splat(b'\\'));
    let control = block.min(u8x16::splat(0x1f)).simd_eq(block);
    (quote | backslash | control).to_bitmask()
}

/// Where the first stop is, if it is among the next 16 bytes. Does least for what most strings are, short.
#[inline(always)]
pub(super) fn near_stop(bytes: &[u8], at: usize) -> Option<usize> {
    let stops = stops_of(bytes.get(at..)?.first_chunk()?);
    (stops != 0).then(|| at + stops.trailing_zeros() as usize)
}

/// The stops among the next 64 bytes; past the end there is none.
#[inline(always)]
pub(super) fn stops(bytes: &[u8], at: usize) -> u64 {
    let rest = bytes.get(at..).unwrap_or_default();
    match rest.first_chunk() {
        Some(block) => stops_of_all(block),
        None => stops_of_tail(bytes, rest),
    }
}

#[inline(always)]
fn stops_of_all(block: &[u8; WIDTH]) -> u64 {
    let (parts, _) = block.as_chunks();
    parts.iter().rev().fold(0, |bits, part| bits << 16 | u64::from(stops_of(part)))
}

/// Of fewer than 64 bytes at the end, read as part of the last whole block where there is one.
fn stops_of_tail(bytes: &[u8], rest: &[u8]) -> u64 {
    match bytes.last_chunk() {
        Some(_) if rest.is_empty() => 0,
        Some(block) => stops_of_all(block) >> (WIDTH - rest.len()),
        None => {
            let mut block = [b' '; WIDTH];
            block.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
            stops_of_all(&block)
        }
    }
}

/// Where the first stop is, however far; the end if there is none. Costs less per byte than the others, and more to begin.
/// `clean`: there is no control character.
#[inline(never)]
pub(super) fn far_stop(bytes: &[u8], at: usize, clean: bool) -> usize {
    let rest = bytes.get(at..).unwrap_or_default();
    let len = memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
    let run = rest.get(..len).unwrap_or_default();
    if clean || Look::at(run).clean {
        return at + len;
    }
    at + run.iter().take_while(|byte| **byte >= 0x20).count()
}

/// What one look at all bytes tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Look {
    /// No control character, not even a line end.
    pub clean: bool,
    pub ascii: bool,
}

impl Look {
    pub(super) fn at(bytes: &[u8]) -> Self {
        let (least, all) = bytes.iter().fold((u8::MAX, 0), |(least, all), byte| (least.min(*byte), all | *byte));
        Self { clean: least >= 0x20, ascii: all.is_ascii() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Byte by byte.
    fn plain(bytes: &[u8], at: usize) -> usize {
        (at..bytes.len()).find(|i| matches!(bytes[*i], b'"' | b'\\' | 0..0x20)).unwrap_or(bytes.len())
    }

    fn check(bytes: &[u8], at: usize) {
        let stop = plain(bytes, at);
        let look = Look::at(bytes);
        assert_eq!(look, Look { clean: bytes.iter().all(|byte| *byte >= 0x20), ascii: bytes.is_ascii() });
        assert_eq!(far_stop(bytes, at, false), stop, "{at} of {}", bytes.escape_ascii());
        assert!(!look.clean || far_stop(bytes, at, true) == stop, "{at} of {}", bytes.escape_ascii());
        let near = (at + 16 <= bytes.len() && stop < at + 16).then_some(stop);
        assert_eq!(near_stop(bytes, at), near, "{at} of {}", bytes.escape_ascii());
        let rest = bytes.get(at..).unwrap_or_default().iter().take(WIDTH);
        let bits = rest.enumerate().fold(0, |bits, (i, byte)| bits | u64::from(matches!(byte, b'"' | b'\\' | 0..0x20)) << i);
        assert_eq!(stops(bytes, at), bits, "{at} of {}", bytes.escape_ascii());
    }

    #[test]
    fn every_byte_stops_a_string_or_does_not_wherever_it_stands() {
        for len in [1, 5, 15, 16, 17, 31, 32, 33, 64, 65, 100] {
            let mut bytes = vec![b' '; len];
            for place in 0..len {
                for byte in [0, b'\n', 0x1f, b' ', b'!', b'"', b'#', b'[', b'\\', b']', 0x7f, 0x80, 0xff] {
                    bytes[place] = byte;
                    for at in [0, place.saturating_sub(1), place, place + 1, len] {
                        check(&bytes, at);
                    }
                }
                bytes[place] = b' ';
            }
        }
        for byte in 0..=255u8 {
            check(&[byte; 40], 0);
        }
    }

    #[test]
    fn several_stops_are_told_apart() {
        let bytes: Vec<u8> = (0..300u32).map(|i| ((i * i * 37) >> 3) as u8).collect();
        for len in 0..bytes.len() {
            for at in 0..=len {
                check(&bytes[..len], at);
            }
        }
    }
}
