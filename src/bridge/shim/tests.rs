use super::*;
use crate::protocol::code::Code;
use bytes::Bytes;

const PATIENCE: Duration = Duration::from_secs(600);

const FORM: &str =
    r#"{"method":"elicitation/create","params":{"mode":"form","message":"m","requestedSchema":{"type":"object","properties":{}}}}"#;
const URL: &str = r#"{"method":"elicitation/create","params":{"mode":"url","message":"m","url":"https://a.example"}}"#;
const SAMPLE: &str = r#"{"method":"sampling/createMessage","params":{"messages":[],"maxTokens":5}}"#;
const ROOTS: &str = r#"{"method":"roots/list"}"#;

fn message(text: &str) -> Message {
    Message::parse(Bytes::copy_from_slice(text.as_bytes())).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[expect(clippy::disallowed_methods, reason = "time has to start somewhere; it never passes by itself")]
fn now() -> Instant {
    Instant::now()
}

struct Talk {
    shim: Shim,
    minted: u32,
}

impl Talk {
    fn new(client: Version) -> Self {
        let profile = [Profile::ROOTS, Profile::SAMPLING, Profile::FORM, Profile::URL].into_iter().fold(Profile::BARE, Profile::with);
        Self { shim: Shim::new(client, profile, None, PATIENCE), minted: 0 }
    }

    fn required(&mut self, members: &str) -> Step {
        let answer = message(&format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"resultType":"input_required",{members}}}}}"#));
        let mut mint = || {
            self.minted += 1;
            format!("e{}", self.minted)
        };
        self.shim.handle_input_required(&answer, None, &mut mint, now()).unwrap()
    }

    /// The questions asked, with ids as their numbers.
    fn asked(&mut self, members: &str) -> Vec<(Number, String)> {
        let Step::Ask(questions) = self.required(members) else { panic!("nothing is asked") };
        let sent = |question: &Question| {
            let body = question.to_body(&RequestId::from_number(question.number.as_u32().into())).to_bytes();
            let text = String::from_utf8(body.to_vec()).unwrap();
            assert_eq!(message(&text).kind(), MessageKind::Request);
            (question.number, text)
        };
        questions.iter().map(sent).collect()
    }

    fn result(&mut self, number: Number, result: &str) -> Step {
        self.shim.handle_response(number, &message(&format!(r#"{{"jsonrpc":"2.0","id":1,"result":{result}}}"#)))
    }

    fn error(&mut self, number: Number) -> Step {
        self.shim.handle_response(number, &message(r#"{"jsonrpc":"2.0","id":1,"error":{"code":-1,"message":"no"}}"#))
    }
}

fn retry(responses: Option<&str>, state: Option<&str>) -> Step {
    Step::Retry(Retry {
        responses: responses.map(String::from),
        state: state.map(String::from),
        pause: Duration::ZERO,
        withdrawn: Vec::new(),
    })
}

#[test]
fn all_is_asked_at_once_and_sent_back_when_all_is_answered() {
    let mut talk = Talk::new(Version::V2025_11_25);
    let asked = talk.asked(&format!(r#""inputRequests":{{"a \"b\"":{FORM},"u":{URL},"r":{ROOTS}}},"requestState":"s\n1""#));
    let [(form, form_text), (url, url_text), (roots, roots_text)] = asked.as_slice() else { panic!("{asked:?}") };
    assert_eq!(
        form_text,
        r#"{"jsonrpc":"2.0","id":1,"method":"elicitation/create","params":{"mode":"form","message":"m","requestedSchema":{"type":"object","properties":{}}}}"#
    );
    assert_eq!(
        url_text,
        r#"{"jsonrpc":"2.0","id":2,"method":"elicitation/create","params":{"mode":"url","message":"m","url":"https://a.example","elicitationId":"e1"}}"#
    );
    assert_eq!(roots_text, r#"{"jsonrpc":"2.0","id":3,"method":"roots/list"}"#);
    assert_eq!(talk.result(*roots, r#"{"roots":[]}"#), Step::Wait);
    assert_eq!(talk.result(*url, r#"{"action":"accept"}"#), Step::Wait);
    assert_eq!(talk.result(*roots, r#"{"roots":[{}]}"#), Step::Wait, "the first answer counts");
    assert_eq!(
        talk.result(*form, r#"{"action":"accept","content":{"x":1.0}}"#),
        retry(Some(r#"{"a \"b\"":{"action":"accept","content":{"x":1.0}},"u":{"action":"accept"},"r":{"roots":[]}}"#), Some("s\n1"))
    );
    assert_eq!(talk.shim.timeout(), None);
    let again = talk.asked(&format!(r#""inputRequests":{{"u":{FORM}}}"#));
    assert!(again[0].0 > *roots, "numbers are never used again");
    assert_eq!(talk.result(again[0].0, r#"{"action":"decline"}"#), retry(Some(r#"{"u":{"action":"decline"}}"#), None));
}

#[test]
fn an_older_client_is_asked_in_its_own_words() {
    let mut talk = Talk::new(Version::V2025_06_18);
    let asked = talk.asked(&format!(r#""inputRequests":{{"a":{FORM}}}"#));
    assert_eq!(
        asked[0].1,
        r#"{"jsonrpc":"2.0","id":1,"method":"elicitation/create","params":{"message":"m","requestedSchema":{"type":"object","properties":{}}}}"#
    );
}

#[test]
fn what_the_client_cannot_do_ends_the_request_before_anything_is_asked() {
    let fails = |talk: &mut Talk, members: &str, needed: &str| {
        let Step::Fail(failure) = talk.required(members) else { panic!("{members}") };
        assert_eq!(failure.withdrawn, []);
        assert!(failure.text.contains(needed), "{}", failure.text);
        assert_eq!(failure.data.as_deref(), Some(&*format!(r#"{{"requiredCapabilities":{needed}}}"#)));
        assert_eq!(talk.shim.waiting().count(), 0);
    };
    fails(&mut Talk::new(Version::V2025_06_18), &format!(r#""inputRequests":{{"a":{FORM},"b":{URL}}}"#), r#"{"elicitation":{"url":{}}}"#);
    fails(&mut Talk::new(Version::V2025_03_26), &format!(r#""inputRequests":{{"a":{FORM}}}"#), r#"{"elicitation":{"form":{}}}"#);
    let tools = r#"{"method":"sampling/createMessage","params":{"messages":[],"maxTokens":5,"tools":[]}}"#;
    fails(&mut Talk::new(Version::V2025_06_18), &format!(r#""inputRequests":{{"a":{tools}}}"#), r#"{"sampling":{"tools":{}}}"#);
    let mut bare = Talk { shim: Shim::new(Version::V2025_11_25, Profile::FORM, None, PATIENCE), minted: 0 };
    fails(&mut bare, &format!(r#""inputRequests":{{"a":{ROOTS}}}"#), r#"{"roots":{}}"#);
}

#[test]
fn an_elicitation_refused_is_cancelled_and_another_refusal_ends_the_request() {
    let mut talk = Talk::new(Version::V2025_11_25);
    let asked = talk.asked(&format!(r#""inputRequests":{{"a":{FORM}}}"#));
    assert_eq!(talk.error(asked[0].0), retry(Some(r#"{"a":{"action":"cancel"}}"#), None));
    let asked = talk.asked(&format!(r#""inputRequests":{{"a":{FORM}}}"#));
    assert_eq!(talk.result(asked[0].0, r#"{"no":"action"}"#), retry(Some(r#"{"a":{"action":"cancel"}}"#), None));

    let asked = talk.asked(&format!(r#""inputRequests":{{"a":{FORM},"s":{SAMPLE},"r":{ROOTS}}}"#));
    let Step::Fail(failure) = talk.error(asked[1].0) else { panic!("a refusal of sampling cannot be said") };
    assert_eq!(failure.withdrawn, [asked[0].0, asked[2].0]);
    assert_eq!(failure.text, "The client declined to answer sampling/createMessage, which the server needs");
    assert_eq!(talk.result(asked[0].0, r#"{"action":"accept"}"#), Step::Wait, "it is over");
}

#[test]
fn who_does_not_answer_in_time_has_left_an_elicitation_and_failed_all_else() {
    let mut talk = Talk::new(Version::V2025_11_25);
    let asked = talk.asked(&format!(r#""inputRequests":{{"a":{FORM},"b":{FORM}}}"#));
    assert!(talk.shim.timeout().is_some());
    assert_eq!(talk.result(asked[0].0, r#"{"action":"accept"}"#), Step::Wait);
    let Step::Retry(retry) = talk.shim.handle_timeout() else { panic!() };
    assert_eq!(retry.responses.as_deref(), Some(r#"{"a":{"action":"accept"},"b":{"action":"cancel"}}"#));
    assert_eq!(retry.withdrawn, [asked[1].0]);

    let asked = talk.asked(&format!(r#""inputRequests":{{"a":{FORM},"r":{ROOTS}}}"#));
    let Step::Fail(failure) = talk.shim.handle_timeout() else { panic!() };
    assert_eq!(failure.withdrawn, [asked[0].0, asked[1].0]);
    assert_eq!(talk.shim.handle_timeout(), Step::Wait);
}

#[test]
fn a_server_that_only_says_come_back_is_paced_and_rounds_end() {
    let mut talk = Talk::new(Version::V2025_11_25);
    for round in 1..=limits::ROUNDS_MAX {
        let Step::Retry(retry) = talk.required(r#""requestState":"s""#) else { panic!() };
        assert_eq!((retry.responses, retry.state.as_deref(), retry.pause), (None, Some("s"), limits::ROUND_PAUSE * round));
    }
    assert!(matches!(talk.required(r#""requestState":"s""#), Step::Fail(_)));
}

#[test]
fn what_is_malformed_becomes_an_error() {
    let mut shim = Shim::new(Version::V2025_11_25, Profile::FORM, None, PATIENCE);
    let answer = message(r#"{"jsonrpc":"2.0","id":1,"result":{"resultType":"input_required","inputRequests":[]}}"#);
    let refusal = shim.handle_input_required(&answer, None, &mut String::new, now()).unwrap_err();
    assert_eq!(refusal.code, Code::Internal);
}

#[test]
fn roots_of_the_entry_stand_in_for_a_session_without_its_own() {
    const ROOTS: &str = r#""r":{"method":"roots/list"}"#;
    let form = r#"{"method":"elicitation/create","params":{"message":"m","requestedSchema":{"type":"object"}}}"#;
    let talk = |profile| Talk { shim: Shim::new(Version::V2025_11_25, profile, Some(r#"{"roots":[]}"#.into()), PATIENCE), minted: 0 };
    let responses = |step| match step {
        Step::Retry(Retry { responses, state, pause, .. }) => (responses.unwrap(), state, pause),
        step => panic!("{step:?}"),
    };
    let step = talk(Profile::BARE).required(&format!(r#""inputRequests":{{{ROOTS}}},"requestState":"s""#));
    assert_eq!(responses(step), (r#"{"r":{"roots":[]}}"#.into(), Some("s".into()), Duration::ZERO));

    let mut both = talk(Profile::FORM);
    let asked = both.asked(&format!(r#""inputRequests":{{{ROOTS},"f":{form}}}"#));
    assert_eq!(asked.len(), 1);
    let step = both.result(asked[0].0, r#"{"action":"decline"}"#);
    assert_eq!(responses(step).0, r#"{"r":{"roots":[]},"f":{"action":"decline"}}"#);

    assert_eq!(talk(Profile::ROOTS).asked(&format!(r#""inputRequests":{{{ROOTS}}}"#)).len(), 1, "it has its own");
    assert!(matches!(talk(Profile::BARE).required(&format!(r#""inputRequests":{{{ROOTS},"f":{form}}}"#)), Step::Fail(_)));
}
