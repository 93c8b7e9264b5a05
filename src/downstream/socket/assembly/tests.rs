//! Frames in, messages and refusals out.

use super::*;
use proptest::prelude::*;

const MAX: usize = limits::SOCKET_MESSAGE_BYTES_MAX;

fn frame(opcode: OpCode, is_final: bool, payload: &[u8]) -> Frame {
    Frame { is_final, opcode, is_masked: true, payload: payload.into() }
}

/// What the last of these frames comes to; those before are fine.
fn check(frames: &[(OpCode, bool, &[u8])]) -> Result<Taken, Close> {
    let mut assembly = Assembly::default();
    let now = Instant::now();
    let (last, first) = frames.split_last().unwrap();
    for (opcode, is_final, payload) in first {
        assembly.take(frame(*opcode, *is_final, payload), now).unwrap();
    }
    assembly.take(frame(last.0, last.1, last.2), now)
}

fn code(refused: Result<Taken, Close>) -> u16 {
    let payload = refused.expect_err("refused").payload();
    u16::from_be_bytes([payload[0], payload[1]])
}

fn message(bytes: &[u8]) -> Result<Taken, Close> {
    Ok(Taken::Message(Bytes::copy_from_slice(bytes)))
}

#[test]
fn a_message_is_the_sum_of_its_frames() {
    use OpCode::{Continuation, Ping, Pong, Text};
    let euro = "€".as_bytes();
    assert_eq!(check(&[(Text, true, b"{}")]), message(b"{}"));
    assert_eq!(check(&[(Text, true, b"")]), message(b""));
    assert_eq!(check(&[(Text, false, b"{"), (Continuation, false, b""), (Continuation, true, b"}")]), message(b"{}"));
    assert_eq!(check(&[(Text, false, &euro[..1]), (Continuation, true, &euro[1..])]), message(euro));
    assert_eq!(check(&[(Text, false, b"{"), (Ping, true, b"p"), (Pong, true, b""), (Continuation, true, b"}")]), message(b"{}"));
    assert_eq!(check(&[(Text, false, b"a"), (Continuation, true, b"b"), (Text, true, b"c")]), message(b"c"));
    assert_eq!(check(&[(Text, false, b"{"), (Ping, true, b"p")]), Ok(Taken::Ping(b"p"[..].into())));
}

#[test]
fn a_message_of_one_frame_is_not_copied() {
    let payload = BytesMut::from("{}");
    let start = payload.as_ptr();
    let only = Frame { is_final: true, opcode: OpCode::Text, is_masked: true, payload };
    let Ok(Taken::Message(message)) = Assembly::default().take(only, Instant::now()) else { panic!() };
    assert_eq!(message.as_ptr(), start);
}

#[test]
fn every_broken_rule_has_its_close_code() {
    use OpCode::{Binary, Close, Continuation, Ping, Pong, Text};
    let long = vec![b'x'; MAX + 1];
    let half = vec![b'x'; MAX / 2 + 1];
    let control = [b'x'; 126];
    type Row<'a> = (&'a [(OpCode, bool, &'a [u8])], u16);
    let rows: &[Row<'_>] = &[
        (&[(Binary, true, b"{}")], 1003),
        (&[(Continuation, true, b"{}")], 1002),
        (&[(Text, true, b"a"), (Continuation, true, b"b")], 1002),
        (&[(Text, false, b"a"), (Text, true, b"b")], 1002),
        (&[(Text, false, b"a"), (Binary, true, b"b")], 1003),
        (&[(Ping, false, b"")], 1002),
        (&[(Ping, true, &control)], 1002),
        (&[(Pong, true, &control)], 1002),
        (&[(Close, true, &control)], 1002),
        (&[(Close, false, b"")], 1002),
        (&[(Close, true, b"\x03")], 1002),
        (&[(Close, true, b"\x00\x00")], 1002),
        (&[(Close, true, b"\x03\xed")], 1002),
        (&[(Close, true, b"\x03\xee")], 1002),
        (&[(Close, true, b"\x03\xf7")], 1002),
        (&[(Close, true, b"\x0b\xb7")], 1002),
        (&[(Close, true, b"\x13\x88")], 1002),
        (&[(Close, true, b"\x03\xe8\xff")], 1007),
        (&[(Text, true, b"\xff")], 1007),
        (&[(Text, true, "€".as_bytes().split_last().unwrap().1)], 1007),
        (&[(Text, false, b"\xe2"), (Continuation, true, b"x")], 1007),
        (&[(Text, true, &long)], 1009),
        (&[(Text, false, &half), (Continuation, true, &half)], 1009),
    ];
    for (frames, expected) in rows {
        let last = frames.last().unwrap();
        assert_eq!(code(check(frames)), *expected, "{:?}, final: {}, {} bytes", last.0, last.1, last.2.len());
    }
}

#[test]
fn frames_without_a_mask_are_refused_whatever_they_hold() {
    for opcode in [OpCode::Text, OpCode::Continuation, OpCode::Binary, OpCode::Ping, OpCode::Pong, OpCode::Close] {
        let unmasked = Frame { is_masked: false, ..frame(opcode, true, b"") };
        assert_eq!(code(Assembly::default().take(unmasked, Instant::now())), 1002, "{opcode:?}");
    }
}

#[test]
fn a_close_is_answered_with_its_code_and_nothing_else() {
    for (payload, expected) in [(&b""[..], &b""[..]), (b"\x03\xe8", b"\x03\xe8"), (b"\x03\xe9bye", b"\x03\xe9"), (b"\x0f\xa0", b"\x0f\xa0")]
    {
        let Ok(Taken::Close(close)) = check(&[(OpCode::Close, true, payload)]) else { panic!("{payload:?}") };
        assert_eq!(close.payload(), expected);
    }
}

#[test]
fn size_and_number_of_fragments_are_bounded_to_the_one() {
    let full = vec![b'x'; MAX];
    assert_eq!(check(&[(OpCode::Text, true, &full)]), message(&full));
    let cut = [(OpCode::Text, false, &full[1..]), (OpCode::Continuation, true, &full[..1])];
    assert_eq!(check(&cut), message(&full));

    let mut frames = vec![(OpCode::Text, false, &b"a"[..])];
    frames.resize(limits::SOCKET_FRAGMENTS_MAX - 1, (OpCode::Continuation, false, b"a"));
    frames.push((OpCode::Continuation, true, b"a"));
    assert_eq!(check(&frames), message(&[b'a'; limits::SOCKET_FRAGMENTS_MAX]));
    frames.insert(1, (OpCode::Continuation, false, b""));
    assert_eq!(code(check(&frames)), 1008);
}

#[test]
fn a_flood_of_pings_is_cut_off_and_a_steady_beat_is_not() {
    let start = Instant::now();
    let mut assembly = Assembly::default();
    let mut take = |opcode, at_ms| assembly.take(frame(opcode, true, b""), start + Duration::from_millis(at_ms));
    for second in 0..3 {
        for ping in 0..u64::from(limits::SOCKET_PINGS_PER_SECOND_MAX) {
            let opcode = if ping % 2 == 0 { OpCode::Ping } else { OpCode::Pong };
            take(opcode, second * 1000 + ping).unwrap();
        }
    }
    assert_eq!(code(take(OpCode::Ping, 2999)), 1008);
}

/// Masked frames as they stand on the wire.
fn wire(frames: &[(u8, Vec<u8>, [u8; 4])]) -> Vec<u8> {
    let mut wire = Vec::new();
    for (first, payload, mask) in frames {
        wire.push(*first);
        match payload.len() {
            len @ ..=125 => wire.push(0x80 | len as u8),
            len => {
                wire.push(0x80 | 126);
                wire.extend((len as u16).to_be_bytes());
            }
        }
        wire.extend(mask);
        wire.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    }
    wire
}

fn any_frame() -> impl Strategy<Value = (u8, Vec<u8>, [u8; 4])> {
    let first = prop_oneof![8 => prop::sample::select(vec![0x81, 0x01, 0x80, 0x00, 0x89, 0x8a]), 1 => Just(0x88), 1 => any::<u8>()];
    let payload = prop_oneof![4 => "[a-z€]{0,40}".prop_map(String::into_bytes), 1 => prop::collection::vec(any::<u8>(), 0..200)];
    (first, payload, any::<[u8; 4]>())
}

proptest! {
    #[test]
    fn what_comes_out_agrees_with_the_model(frames in prop::collection::vec(any_frame(), 0..12), cut in 0..64usize) {
        let mut wire = wire(&frames);
        wire.truncate(wire.len().saturating_sub(cut.saturating_sub(32)));
        fuzz_assembly(&wire);
    }

    #[test]
    fn a_message_does_not_depend_on_its_fragments(text in "[a€𝄞{}\"]{0,60}", cuts in prop::collection::vec(0..240usize, 0..10)) {
        let bytes = text.as_bytes();
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut % (bytes.len() + 1)).collect();
        cuts.sort_unstable();
        let ends = cuts.iter().copied().chain([bytes.len()]);
        let starts = std::iter::once(0).chain(cuts.iter().copied());
        let mut assembly = Assembly::default();
        let mut last = Ok(Taken::Partial);
        for (at, (start, end)) in starts.zip(ends).enumerate() {
            let opcode = if at == 0 { OpCode::Text } else { OpCode::Continuation };
            prop_assert_eq!(last, Ok(Taken::Partial));
            last = assembly.take(frame(opcode, at == cuts.len(), &bytes[start..end]), Instant::now());
        }
        prop_assert_eq!(last, message(bytes));
    }

    #[test]
    fn any_bytes_are_taken(data: Vec<u8>) {
        fuzz_assembly(&data);
    }
}
