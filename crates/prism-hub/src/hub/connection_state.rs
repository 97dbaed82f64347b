//! What the hub attaches to each connection, and what it does when the connection opens and closes.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prism_sse::{CloseReason, ConnectionRef};

use super::active_subscriptions::ConnectionSubscriptions;
use super::connection_permits::ConnectionPermit;
use super::token_expiry::{ExpiryKey, TokenExpiryQueue};
use crate::metrics::Metrics;

/// The state of one connection beside its place in the log.
pub(crate) struct ConnectionState {
    /// Held until the connection is dropped, which is later than its close.
    _permit: ConnectionPermit,
    /// Time from the request to the expiry of its token, if that expires.
    token_lifetime: Option<Duration>,
    token_expiry: Arc<TokenExpiryQueue>,
    /// The connection's key in the expiry queue.
    expiry_key: Mutex<Option<ExpiryKey>>,
    metrics: Arc<Metrics>,
    /// The subscriptions to announce, if the setting `subscriptions` is on.
    subscriptions: Option<ConnectionSubscriptions>,
}

impl ConnectionState {
    pub(crate) fn new(
        permit: ConnectionPermit,
        token_lifetime: Option<Duration>,
        token_expiry: Arc<TokenExpiryQueue>,
        metrics: Arc<Metrics>,
        subscriptions: Option<ConnectionSubscriptions>,
    ) -> Self {
        Self {
            _permit: permit,
            token_lifetime,
            token_expiry,
            expiry_key: Mutex::default(),
            metrics,
            subscriptions,
        }
    }

    /// Schedules the expiry of the token and announces the subscriptions.
    pub(super) fn on_connect(&self, connection: &ConnectionRef) {
        if let Some(lifetime) = self.token_lifetime {
            let key = self.token_expiry.schedule(lifetime, connection);
            *self.expiry_key.lock().unwrap_or_else(PoisonError::into_inner) = key;
        }
        if let Some(subscriptions) = &self.subscriptions {
            subscriptions.activate();
        }
    }

    /// Does what [`on_connect`](Self::on_connect) does, and counts the replay.
    pub(super) fn on_reconnect(&self, connection: &ConnectionRef) {
        self.metrics.count_replay();
        self.on_connect(connection);
    }

    /// Reverts what [`on_connect`](Self::on_connect) did, and counts the close.
    pub(super) fn on_disconnect(&self, reason: CloseReason) {
        let key = self.expiry_key.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(key) = key {
            self.token_expiry.cancel(key);
        }
        // The hub removes connections for no other reason than the expiry of their token.
        let is_expired = reason == CloseReason::Removed && self.token_lifetime.is_some();
        self.metrics.count_close(if is_expired { "expired" } else { reason.as_str() });
        if let Some(subscriptions) = &self.subscriptions {
            subscriptions.deactivate();
        }
    }
}
