use super::*;

const NOW: u64 = 1_800_000_000;

fn sealer() -> Sealer {
    Sealer::new(&[7; 32], None)
}

fn binding(principal: &str) -> Binding<'_> {
    Binding { principal, request: Digest::of("tools/call", "a.b", Some(br#"{"x":1}"#)) }
}

fn state(what: What) -> State {
    State { what, server: "git".into(), expires_unix: NOW + 60 }
}

#[test]
fn every_kind_of_state_comes_back_as_it_was() {
    let pages = vec![reissue_page()];
    for what in [
        What::Rooted { state: None, keys: vec!["k\"".into(), String::new()] },
        What::Rooted { state: Some("s".into()), keys: Vec::new() },
        What::Relay("the server's \"own\" \u{1f510}".into()),
        What::Park { call: u128::MAX, instance: u64::MAX },
        What::Reissue(Needed { pages, round: 3 }),
        What::Hub(String::new()),
    ] {
        let sealed = sealer().seal(&state(what.clone()), &binding("p"), [9; 24]);
        assert!(sealed.starts_with("v1.") && sealed.is_ascii());
        assert_eq!(sealer().open(&sealed, &binding("p"), NOW), Ok(state(what)));
    }
}

fn reissue_page() -> super::super::reissue::Page {
    super::super::reissue::Page { elicitation_id: "e".into(), url: "https://a.example".into(), message: "m".into() }
}

#[test]
fn nobody_else_and_no_other_request_opens_it_and_nobody_too_late() {
    let sealed = sealer().seal(&state(What::Park { call: 1, instance: 2 }), &binding("p"), [9; 24]);
    let open = |binding: &Binding<'_>, now| sealer().open(&sealed, binding, now).map(drop);
    assert_eq!(open(&binding("p"), NOW + 59), Ok(()));
    assert_eq!(open(&binding("p"), NOW + 60), Err(SealError::Expired));
    assert_eq!(open(&binding("q"), NOW), Err(SealError::Unknown));
    for request in [
        Digest::of("prompts/get", "a.b", Some(br#"{"x":1}"#)),
        Digest::of("tools/call", "a.c", Some(br#"{"x":1}"#)),
        Digest::of("tools/call", "a.b", Some(br#"{"x":2}"#)),
    ] {
        assert_eq!(open(&Binding { principal: "p", request }, NOW), Err(SealError::Unknown));
    }
    let same = Digest::of("tools/call", "a.b", Some(br#" { "x" : 1.0 } "#));
    assert_eq!(open(&Binding { principal: "p", request: same }, NOW), Ok(()));
}

#[test]
fn the_key_before_still_opens_and_one_before_that_does_not() {
    let sealed = sealer().seal(&state(What::Hub("x".into())), &binding("p"), [9; 24]);
    let open = |current, previous: Option<&Key>| Sealer::new(&current, previous).open(&sealed, &binding("p"), NOW).map(drop);
    assert_eq!(open([8; 32], Some(&[7; 32])), Ok(()));
    assert_eq!(open([8; 32], None), Err(SealError::Unknown));
    assert_eq!(open([9; 32], Some(&[8; 32])), Err(SealError::Unknown));
}

#[test]
fn no_altered_byte_passes() {
    let sealed = sealer().seal(&state(What::Hub("x".into())), &binding("p"), [9; 24]);
    for at in 0..sealed.len() {
        for with in ["A", "z", "_"] {
            let altered = [&sealed[..at], with, &sealed[at + 1..]].concat();
            assert!(altered == sealed || sealer().open(&altered, &binding("p"), NOW) == Err(SealError::Unknown), "{altered}");
        }
    }
    for text in ["", "v1.", "v1.AAAA", "v2.x", "x", &sealed[..sealed.len() - 1], &format!("{sealed}A"), &format!("{sealed}=")] {
        assert_eq!(sealer().open(text, &binding("p"), NOW), Err(SealError::Unknown), "{text}");
    }
    assert_eq!(sealer().open(&format!("v1.{}", "A".repeat(11 * limits::STATE_BYTES_MAX)), &binding("p"), NOW), Err(SealError::Unknown));
}

#[test]
fn a_task_id_is_fit_for_a_header_and_of_one_principal() {
    let place = Some(Place { instance: u64::MAX, connection: 7 });
    let task = TaskRef { server: "git".into(), id: "786512e2-9e0d \u{e9}".into(), expires_unix: NOW + 60, place };
    let id = sealer().seal_task(&task, "p", [9; 24]);
    assert!(id.starts_with('t') && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)), "{id}");
    assert_eq!(sealer().open_task(&id, "p", NOW), Ok(task));
    assert_eq!(sealer().open_task(&id, "q", NOW), Err(SealError::Unknown));
    assert_eq!(sealer().open_task(&id, "p", NOW + 60), Err(SealError::Expired));
}

#[test]
fn a_task_id_of_a_hub_that_did_not_say_where_the_task_is_opens_still() {
    let id = format!("t{}", sealer().close(br#"{"s":"git","t":"task-1","e":99000000000}"#, &task_hash("p"), [9; 24]));
    let task = TaskRef { server: "git".into(), id: "task-1".into(), expires_unix: 99_000_000_000, place: None };
    assert_eq!(sealer().open_task(&id, "p", NOW), Ok(task));
}

#[test]
fn a_server_state_of_the_greatest_length_travels() {
    let what = What::Relay("\u{1}".repeat(limits::STATE_BYTES_MAX));
    let sealed = sealer().seal(&state(what.clone()), &binding("p"), [9; 24]);
    assert_eq!(sealer().open(&sealed, &binding("p"), NOW), Ok(state(what)));
}
