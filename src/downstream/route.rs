//! The route table: every address the hub serves, with its verb, its door and its access rule. A `Route` without an `Access` does
//! not build.

use super::{legacy, mcp, rest, socket};
use hyper::Method;

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    pub verb: Verb,
    /// Template of `matchit`: `/api/tools/{tool}`. Without the configured base path and without a trailing slash.
    pub path: &'static str,
    pub access: Access,
    pub door: Door,
    pub handler: Handler,
}

/// Who may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Anybody; the request carries no principal.
    Open,
    /// An authenticated caller; `Request::caller` is there.
    Principal,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// `HEAD` too.
    Get,
    Post,
    /// The handler sees to the verb itself.
    Any,
}
impl Verb {
    fn takes(self, method: &Method) -> bool {
        match self {
            Self::Get => matches!(*method, Method::GET | Method::HEAD),
            Self::Post => *method == Method::POST,
            Self::Any => true,
        }
    }
    const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET, HEAD",
            Self::Post => "POST",
            Self::Any => "GET, POST, DELETE",
        }
    }
}

/// Which part of `listeners.serves` a route belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    Api,
    Mcp,
    Ws,
    Apps,
    Ops,
    /// On every listener (`/health`).
    All,
}

/// Who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handler {
    Mcp,
    Legacy(legacy::Action),
    Rest(rest::Action),
    Socket(socket::Kind),
}

/// The rows of all doors.
pub fn routes() -> impl Iterator<Item = &'static Route> {
    mcp::ROUTES.iter().chain(legacy::ROUTES).chain(rest::ROUTES).chain(socket::ROUTES)
}

/// What a path leads to.
pub enum Found<'r, 'p> {
    Route(&'static Route, matchit::Params<'r, 'p>),
    /// Known, with other verbs: the value of `Allow`.
    OtherVerb(String),
    Unknown,
}

/// The table, compiled.
#[derive(Debug)]
pub struct Router {
    table: matchit::Router<Vec<&'static Route>>,
}
impl Default for Router {
    fn default() -> Self {
        Self::new()
    }
}
impl Router {
    pub fn new() -> Self {
        let mut rows: Vec<(&'static str, Vec<&'static Route>)> = Vec::new();
        for route in routes() {
            match rows.iter_mut().find(|(path, _)| *path == route.path) {
                Some((_, same)) => same.push(route),
                None => rows.push((route.path, vec![route])),
            }
        }
        let mut table = matchit::Router::new();
        for (path, same) in rows {
            table.insert(path, same).expect("the rows are constants, and a test builds the table");
        }
        Self { table }
    }

    /// `path` is raw (not decoded), without base path and trailing slash.
    pub fn find<'r, 'p>(&'r self, method: &Method, path: &'p str) -> Found<'r, 'p> {
        let Ok(found) = self.table.at(path) else { return Found::Unknown };
        match found.value.iter().find(|route| route.verb.takes(method)) {
            Some(route) => Found::Route(route, found.params),
            None => Found::OtherVerb(found.value.iter().map(|route| route.verb.as_str()).collect::<Vec<_>>().join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_found_by_its_own_path() {
        let router = Router::new();
        for route in routes() {
            let method = if route.verb == Verb::Post { Method::POST } else { Method::GET };
            let Found::Route(found, _) = router.find(&method, route.path) else { panic!("{}", route.path) };
            assert_eq!(found.path, route.path);
        }
    }

    #[test]
    fn verbs_that_an_address_does_not_take_are_told_from_unknown_addresses() {
        let router = Router::new();
        assert!(matches!(router.find(&Method::DELETE, "/github/mcp"), Found::Route(Route { handler: Handler::Mcp, .. }, _)));
        assert!(matches!(router.find(&Method::GET, "/nothing/here/at/all"), Found::Unknown));
        assert!(matches!(router.find(&Method::GET, ""), Found::Unknown));
        for route in routes().filter(|route| route.verb != Verb::Any) {
            let Found::OtherVerb(allow) = router.find(&Method::PATCH, route.path) else { panic!("{}", route.path) };
            assert!(allow.contains(route.verb.as_str()));
        }
    }

    #[test]
    fn no_row_stands_twice_for_one_verb() {
        let rows: Vec<_> = routes().collect();
        for (at, row) in rows.iter().enumerate() {
            assert!(!rows[..at].iter().any(|other| other.path == row.path && other.verb == row.verb), "{}", row.path);
        }
    }
}
