//! What must hold for any state and any change of it.

use super::{Binding, Digest, NONCE_BYTES, Place, STATE_PREFIX, SealError, Sealer, State, TaskRef, What};

const NOW: u64 = 1_800_000_000;
const LATER: u64 = NOW + 600;

/// The first bytes say what is changed and how; the rest is what is sealed. What was sealed opens as it was; with anything changed, of
/// the text, the key, the principal, the request or the time, it does not. Text that nobody sealed opens nothing.
///
/// # Panics
/// When one of these does not hold.
pub fn fuzz_seal(data: &[u8]) {
    let (change, content) = data.split_at(data.len().min(4));
    let byte = |n: usize| change.get(n).copied().unwrap_or_default();
    let content = String::from_utf8_lossy(content).into_owned();
    let sealer = Sealer::new(&[1; 32], Some(&[2; 32]));
    let binding = Binding { principal: "p", request: Digest::of("tools/call", &content, None) };
    let state = State { what: What::Relay(content.clone()), server: "s".into(), expires_unix: LATER };
    let nonce = [byte(3); NONCE_BYTES];
    let sealed = sealer.seal(&state, &binding, nonce);

    assert_eq!(sealer.open(&sealed, &binding, NOW), Ok(state.clone()));
    let rotated = Sealer::new(&[3; 32], Some(&[1; 32]));
    assert_eq!(rotated.open(&sealed, &binding, NOW), Ok(state));
    assert_eq!(sealer.open(&sealed, &binding, LATER), Err(SealError::Expired));

    let altered = alter(&sealed, u16::from_be_bytes([byte(0), byte(1)]), byte(2));
    assert!(altered == sealed || sealer.open(&altered, &binding, NOW) == Err(SealError::Unknown), "{altered}");
    assert_eq!(sealer.open(&content, &binding, NOW), Err(SealError::Unknown));
    for other in
        [Binding { principal: "q", ..binding }, Binding { request: Digest::of("tools/call", "other", Some(b"{\"a\":1}")), ..binding }]
    {
        assert_eq!(sealer.open(&sealed, &other, NOW), Err(SealError::Unknown));
    }
    assert_eq!(Sealer::new(&[4; 32], Some(&[5; 32])).open(&sealed, &binding, NOW), Err(SealError::Unknown));

    let place = (byte(0) > 0).then(|| Place { instance: u64::from(byte(1)), connection: u64::from(byte(2)) });
    let task = TaskRef { server: "s".into(), id: content, expires_unix: LATER, place };
    let id = sealer.seal_task(&task, "p", nonce);
    assert!(id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')));
    assert_eq!(sealer.open_task(&id, "q", NOW), Err(SealError::Unknown));
    assert_eq!(sealer.open_task(&sealed, "p", NOW), Err(SealError::Unknown));
    assert_eq!(sealer.open(&id.replacen('t', STATE_PREFIX, 1), &binding, NOW), Err(SealError::Unknown));
    assert_eq!(sealer.open_task(&id, "p", NOW), Ok(task));
}

/// One byte changed, put in or taken out, or the end cut off.
fn alter(sealed: &str, place: u16, how: u8) -> String {
    let mut bytes = sealed.as_bytes().to_vec();
    let at = usize::from(place) % bytes.len();
    let with = b"ABab01-_.".get(usize::from(how >> 2) % 9).copied().unwrap_or_default();
    match how & 3 {
        0 => bytes.splice(at..=at, [with]).for_each(drop),
        1 => bytes.insert(at, with),
        2 => drop(bytes.remove(at)),
        _ => bytes.truncate(at),
    }
    String::from_utf8(bytes).unwrap_or_default()
}
