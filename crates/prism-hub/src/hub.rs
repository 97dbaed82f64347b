//! The state that all endpoints share: the configuration, the rules in force, the event manager,
//! and the registries of open connections.
//!
//! A [`Hub`] knows neither sockets nor routes: [`api`](crate::api) answers requests with it, and
//! [`serve`](crate::serve) listens and ends it.

mod active_subscriptions;
mod body_budget;
mod connection_permits;
mod connection_state;
mod error;
mod manager;
mod token_expiry;
mod topic_matcher;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use prism_sse::Manager;

use crate::auth::Clock;
use crate::config::Config;
use crate::limits;
use crate::metrics::Metrics;
use crate::rules::ReloadableRules;

pub(crate) use active_subscriptions::{
    ActiveSubscriptions, ConnectionSubscriptions, DRAFT_07_CONTEXT, SubscriptionFilter,
};
pub(crate) use body_budget::{BodyBudget, BodyBytes};
pub(crate) use connection_permits::{ConnectionPermit, ConnectionPermits, LimitReached};
pub(crate) use connection_state::ConnectionState;
pub use error::HubError;
pub(crate) use token_expiry::TokenExpiryQueue;
pub(crate) use topic_matcher::{MatchType, TopicMatcher};

/// The state that all endpoints share. Clones are handles to the same hub.
#[derive(Clone, Debug)]
pub struct Hub(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: Arc<Config>,
    rules: Arc<ReloadableRules>,
    manager: Manager,
    connection_permits: Arc<ConnectionPermits>,
    query_bodies: Arc<BodyBudget>,
    publish_bodies: Arc<BodyBudget>,
    token_expiry: Arc<TokenExpiryQueue>,
    active_subscriptions: Option<Arc<ActiveSubscriptions>>,
    metrics: Arc<Metrics>,
    is_ready: AtomicBool,
}

impl Hub {
    /// Makes a hub that is not ready. It fetches nothing: until
    /// [`serve`](crate::serve::serve) has fetched the key sets at URLs, tokens that only these
    /// could verify are refused as unavailable.
    ///
    /// # Errors
    ///
    /// [`HubError`] if a key, the certificate, a setting or the directory cannot be used.
    pub fn new(config: Config, clock: Clock) -> Result<Self, HubError> {
        let rules = ReloadableRules::new(&config, clock)?;
        let manager = manager::from_config(&config)?;
        let active_subscriptions = config
            .subscriptions
            .then(|| Arc::new(ActiveSubscriptions::new(manager.clone(), config.hub_url.path())));
        let metrics = Arc::new(Metrics::new(&manager));
        Ok(Self(Arc::new(Inner {
            config: Arc::new(config),
            rules: Arc::new(rules),
            manager,
            connection_permits: Arc::default(),
            query_bodies: BodyBudget::new(limits::QUERY_BYTES_HELD),
            publish_bodies: BodyBudget::new(limits::PUBLISH_BYTES_HELD),
            token_expiry: Arc::default(),
            active_subscriptions,
            metrics,
            is_ready: AtomicBool::new(false),
        })))
    }

    /// The manager of the hub's events and connections.
    pub fn events(&self) -> &Manager {
        &self.0.manager
    }

    /// The configuration at start. A reload changes only the [rules](Self::rules).
    pub fn config(&self) -> &Arc<Config> {
        &self.0.config
    }

    /// The rules that a reload replaces.
    pub fn rules(&self) -> &Arc<ReloadableRules> {
        &self.0.rules
    }

    pub(crate) fn connection_permits(&self) -> &Arc<ConnectionPermits> {
        &self.0.connection_permits
    }

    /// The budget for the bodies of QUERY requests.
    pub(crate) fn query_bodies(&self) -> &Arc<BodyBudget> {
        &self.0.query_bodies
    }

    /// The budget for the bodies of publish requests.
    pub(crate) fn publish_bodies(&self) -> &Arc<BodyBudget> {
        &self.0.publish_bodies
    }

    pub(crate) fn token_expiry(&self) -> &Arc<TokenExpiryQueue> {
        &self.0.token_expiry
    }

    /// The active subscriptions, if the setting `subscriptions` is on.
    pub(crate) fn active_subscriptions(&self) -> Option<&Arc<ActiveSubscriptions>> {
        self.0.active_subscriptions.as_ref()
    }

    pub(crate) fn metrics(&self) -> &Arc<Metrics> {
        &self.0.metrics
    }

    /// Whether the hub takes requests: key sets were fetched, and no shutdown has begun.
    pub fn is_ready(&self) -> bool {
        self.0.is_ready.load(Ordering::Relaxed)
    }

    /// Sets whether the hub takes requests.
    pub fn set_ready(&self, is_ready: bool) {
        self.0.is_ready.store(is_ready, Ordering::Relaxed);
    }
}
