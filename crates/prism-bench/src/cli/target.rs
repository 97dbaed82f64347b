//! The servers that can be measured.

use clap::ValueEnum;

/// A server that can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Target {
    /// Prism SSE's `SseLayer` on an axum router, served by `prism_sse::serve`
    PrismServe,
    /// The same, served by `axum::serve`
    PrismLayer,
    /// Prism SSE's hub: the program `prism-hub`, with a key and otherwise its defaults
    PrismHub,
    /// An axum handler that parses the hub's form, verifies its token, and broadcasts like
    /// `axum-idiom`: what `publish` compares the hub to
    BarePublish,
    /// axum's own `Sse` on a broadcast channel of tokio, as most applications do it
    AxumIdiom,
    /// actix-web-lab's `Sse` on the same channel; build with `RUSTFLAGS="--cfg prism_peers"`
    ActixWebLab,
    /// nginx with nchan, if it is installed: Debian's libnginx-mod-nchan
    NginxNchan,
    /// An axum server whose streams have no events: a baseline of `idle`
    NeverReady,
    /// The same, but each stream begins with one line
    OneLine,
    /// A bare loop of write() on the subscribers' sockets: the ceiling
    Raw,
    /// A server that runs already; see --url
    External,
}

impl Target {
    /// The name on the command line.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// Whether it can be published to.
    pub(crate) fn publishes(self) -> bool {
        !matches!(self, Self::NeverReady | Self::OneLine)
    }

    /// Whether it has topics.
    pub(crate) fn has_topics(self) -> bool {
        matches!(
            self,
            Self::PrismServe
                | Self::PrismLayer
                | Self::PrismHub
                | Self::NginxNchan
                | Self::External
        )
    }

    /// Whether it takes forms and verifies tokens.
    pub(crate) fn takes_forms(self) -> bool {
        matches!(self, Self::PrismHub | Self::BarePublish)
    }

    /// Whether streams resume after a reconnect.
    pub(crate) fn resumes(self) -> bool {
        self.has_topics() || self == Self::Raw
    }
}
