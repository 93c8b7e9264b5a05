//! The four lists of a server.

use crate::limits;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Tools,
    Prompts,
    Resources,
    Templates,
}

impl Kind {
    pub const ALL: [Self; 4] = [Self::Tools, Self::Prompts, Self::Resources, Self::Templates];

    /// The member that tells the definitions of one list apart.
    pub(super) const fn key(self) -> &'static str {
        match self {
            Self::Tools | Self::Prompts => "name",
            Self::Resources => "uri",
            Self::Templates => "uriTemplate",
        }
    }

    /// The member of a result that holds the list.
    pub(super) const fn member(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Prompts => "prompts",
            Self::Resources => "resources",
            Self::Templates => "resourceTemplates",
        }
    }

    pub(super) const fn noun(self) -> &'static str {
        match self {
            Self::Tools => "tool",
            Self::Prompts => "prompt",
            Self::Resources => "resource",
            Self::Templates => "resource template",
        }
    }

    pub(super) const fn items_max(self) -> usize {
        match self {
            Self::Tools => limits::TOOLS_PER_SERVER_MAX,
            Self::Prompts => limits::PROMPTS_PER_SERVER_MAX,
            Self::Resources => limits::RESOURCES_PER_SERVER_MAX,
            Self::Templates => limits::TEMPLATES_PER_SERVER_MAX,
        }
    }

    pub(super) const fn key_bytes_max(self) -> usize {
        match self {
            Self::Tools | Self::Prompts => limits::NAME_BYTES_MAX,
            Self::Resources | Self::Templates => limits::URI_BYTES_MAX,
        }
    }
}

/// One of something for each list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PerKind<T> {
    tools: T,
    prompts: T,
    resources: T,
    templates: T,
}

impl<T> PerKind<T> {
    pub(super) fn of(mut make: impl FnMut(Kind) -> T) -> Self {
        Self { tools: make(Kind::Tools), prompts: make(Kind::Prompts), resources: make(Kind::Resources), templates: make(Kind::Templates) }
    }

    pub(super) const fn get(&self, kind: Kind) -> &T {
        match kind {
            Kind::Tools => &self.tools,
            Kind::Prompts => &self.prompts,
            Kind::Resources => &self.resources,
            Kind::Templates => &self.templates,
        }
    }

    pub(super) const fn get_mut(&mut self, kind: Kind) -> &mut T {
        match kind {
            Kind::Tools => &mut self.tools,
            Kind::Prompts => &mut self.prompts,
            Kind::Resources => &mut self.resources,
            Kind::Templates => &mut self.templates,
        }
    }
}

/// Which of a server's published lists are others than before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    pub tools: bool,
    pub prompts: bool,
    /// Resources or their templates.
    pub resources: bool,
}

impl Changed {
    pub const fn any(self) -> bool {
        self.tools || self.prompts || self.resources
    }
}

impl From<PerKind<bool>> for Changed {
    fn from(kinds: PerKind<bool>) -> Self {
        Self { tools: kinds.tools, prompts: kinds.prompts, resources: kinds.resources || kinds.templates }
    }
}
