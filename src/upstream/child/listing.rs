//! All pages of the lists of a server, each definition kept byte for byte.

use std::collections::HashSet;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::probe::{Declared, Greeting};
use crate::{
    limits,
    mux::Deadline,
    protocol::{
        Era, Kind, Message, Version,
        capability::Profile,
        code::{Code, Reason},
    },
    upstream::wire::Wire,
};

/// What a server lists, in its order.
#[derive(Clone, Debug, Default)]
pub(in crate::upstream) struct Listing {
    pub(in crate::upstream) tools: Vec<Bytes>,
    pub(in crate::upstream) prompts: Vec<Bytes>,
    pub(in crate::upstream) resources: Vec<Bytes>,
    pub(in crate::upstream) templates: Vec<Bytes>,
    /// The smallest of all pages of all lists; none of the handshake era.
    pub(in crate::upstream) ttl_ms: Option<u64>,
    /// Every page said so, and there was one.
    pub(in crate::upstream) public: bool,
    /// A list that it has could not be read, and is empty here.
    pub(in crate::upstream) is_partial: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::upstream) enum ListError {
    #[error("{method} was not answered: {why}")]
    Gone { method: &'static str, why: String },
    #[error("{method} was not answered in time")]
    Silent { method: &'static str },
    #[error("{method} was answered with an error")]
    Refused { method: &'static str },
    #[error("the answer to {method} cannot be read")]
    Unreadable { method: &'static str },
    #[error("the answer to {method} is larger than {limit_bytes} bytes")]
    TooLarge { method: &'static str, limit_bytes: usize },
}

/// One of the four lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::upstream) enum Of {
    Tools,
    Prompts,
    Resources,
    Templates,
}

impl Of {
    const ALL: [Self; 4] = [Self::Tools, Self::Prompts, Self::Resources, Self::Templates];

    fn method(self) -> &'static str {
        match self {
            Self::Tools => "tools/list",
            Self::Prompts => "prompts/list",
            Self::Resources => "resources/list",
            Self::Templates => "resources/templates/list",
        }
    }

    fn is_declared(self, declared: Declared) -> bool {
        match self {
            Self::Tools => declared.tools,
            Self::Prompts => declared.prompts,
            Self::Resources | Self::Templates => declared.resources,
        }
    }

    fn most(self) -> usize {
        match self {
            Self::Tools => limits::TOOLS_PER_SERVER_MAX,
            Self::Prompts => limits::PROMPTS_PER_SERVER_MAX,
            Self::Resources => limits::RESOURCES_PER_SERVER_MAX,
            Self::Templates => limits::TEMPLATES_PER_SERVER_MAX,
        }
    }
}

/// To whom: the revision, and what a stateless server is told of the callers that it lists for.
#[derive(Clone, Copy, Debug)]
pub(in crate::upstream) struct To {
    pub(in crate::upstream) version: Version,
    pub(in crate::upstream) told: Profile,
}

/// Everything that a server declared. One that declared a list and does not know its method, as many do of templates, lists nothing
/// there; neither do broken lists other than that of tools, which must not take the tools with them.
///
/// # Errors
/// The server is gone, or the list of tools is broken.
pub(in crate::upstream) async fn list_all(
    link: &Wire,
    greeting: &Greeting,
    told: Profile,
    deadline: Deadline,
) -> Result<Listing, ListError> {
    let to = To { version: greeting.version, told };
    let mut listing = Listing { public: true, ..Listing::default() };
    let mut pages = 0;
    for of in Of::ALL.into_iter().filter(|of| of.is_declared(greeting.declared)) {
        let list = match list(link, of, to, deadline).await {
            Ok(list) => list,
            Err(error @ ListError::Gone { .. }) => return Err(error),
            Err(error) if of == Of::Tools => return Err(error),
            Err(error) => {
                tracing::warn!(%error, "taken for an empty list");
                listing.is_partial = true;
                continue;
            }
        };
        pages += list.pages;
        listing.public &= list.public;
        listing.ttl_ms = match (listing.ttl_ms, list.ttl_ms) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        *match of {
            Of::Tools => &mut listing.tools,
            Of::Prompts => &mut listing.prompts,
            Of::Resources => &mut listing.resources,
            Of::Templates => &mut listing.templates,
        } = list.definitions;
    }
    listing.public &= pages > 0;
    Ok(listing)
}

#[derive(Clone, Debug, Default)]
pub(in crate::upstream) struct List {
    pub(in crate::upstream) definitions: Vec<Bytes>,
    pub(in crate::upstream) ttl_ms: Option<u64>,
    pub(in crate::upstream) public: bool,
    pages: usize,
    /// Of all pages together.
    bytes: usize,
}

pub(in crate::upstream) async fn list(link: &Wire, of: Of, to: To, deadline: Deadline) -> Result<List, ListError> {
    let mut list = List { public: true, ..List::default() };
    let mut seen = HashSet::new();
    let mut params = "{}".to_owned();
    for _ in 0..limits::LIST_PAGES_MAX {
        let cursor = page(link, of, to, deadline, &params, &mut list).await?;
        // A cursor that came before would go round for ever. An empty one is a cursor like any other.
        if list.bytes > limits::LIST_BYTES_MAX {
            return Err(ListError::TooLarge { method: of.method(), limit_bytes: limits::LIST_BYTES_MAX });
        }
        let Some(cursor) = cursor.filter(|cursor| seen.insert(cursor.clone())) else { break };
        if list.definitions.len() >= of.most() {
            break;
        }
        params = format!(r#"{{"cursor":{cursor}}}"#);
    }
    list.definitions.truncate(of.most());
    Ok(list)
}

/// Adds one page; returns the raw token of the next cursor.
async fn page(link: &Wire, of: Of, to: To, deadline: Deadline, params: &str, list: &mut List) -> Result<Option<String>, ListError> {
    let method = of.method();
    let Some(answer) = ask(link, method, params, to, deadline).await? else { return Ok(None) };
    let result = match answer.scan().result {
        Some(result) if answer.kind() == Kind::Result => answer.token(result),
        _ => return Err(ListError::Refused { method }),
    };
    list.pages += 1;
    list.bytes += answer.bytes().len();
    let page: Page<'_> = serde_json::from_slice(result).map_err(|_| ListError::Unreadable { method })?;
    let definitions = match of {
        Of::Tools => page.tools,
        Of::Prompts => page.prompts,
        Of::Resources => page.resources,
        Of::Templates => page.templates,
    };
    let definitions = definitions.ok_or(ListError::Unreadable { method })?;
    list.definitions.extend(definitions.iter().map(|definition| answer.bytes().slice_ref(definition.get().as_bytes())));
    if to.version.era() == Era::Stateless {
        // Missing or unusable: not to be kept.
        let ttl_ms = page.ttl_ms.and_then(|ttl_ms| ttl_ms.get().parse().ok()).unwrap_or(0);
        list.ttl_ms = Some(list.ttl_ms.map_or(ttl_ms, |smallest| smallest.min(ttl_ms)));
    }
    list.public &= page.cache_scope.is_some_and(|scope| scope.get() == r#""public""#);
    Ok(page.next_cursor.map(RawValue::get).filter(|cursor| cursor.starts_with('"')).map(ToOwned::to_owned))
}

/// `None`: the server does not know the method.
async fn ask(link: &Wire, method: &'static str, params: &str, to: To, deadline: Deadline) -> Result<Option<Message>, ListError> {
    match link.request_for(to.told, method, params, to.version, deadline).await {
        Ok(answer) if is_unknown_method(&answer) => Ok(None),
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.reason == Reason::Timeout => Err(ListError::Silent { method }),
        Err(error) if error.reason == Reason::BadAnswer => Err(ListError::Unreadable { method }),
        Err(error) => Err(ListError::Gone { method, why: error.to_string() }),
    }
}

fn is_unknown_method(answer: &Message) -> bool {
    #[derive(Deserialize)]
    struct Error {
        code: i64,
    }
    let error = answer.scan().error.and_then(|error| serde_json::from_slice::<Error>(answer.token(error)).ok());
    error.is_some_and(|error| error.code == Code::MethodNotFound.number())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page<'a> {
    #[serde(borrow)]
    tools: Option<Vec<&'a RawValue>>,
    #[serde(borrow)]
    prompts: Option<Vec<&'a RawValue>>,
    #[serde(borrow)]
    resources: Option<Vec<&'a RawValue>>,
    #[serde(borrow, rename = "resourceTemplates")]
    templates: Option<Vec<&'a RawValue>>,
    #[serde(borrow)]
    next_cursor: Option<&'a RawValue>,
    #[serde(borrow)]
    ttl_ms: Option<&'a RawValue>,
    #[serde(borrow)]
    cache_scope: Option<&'a RawValue>,
}
