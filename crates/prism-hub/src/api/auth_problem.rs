//! The response to a request that is not authorized.

use crate::auth::AuthError;
use crate::problem::Problem;

/// Turns an authorization error into its response. Why a token is invalid goes to the log
/// alone, so that an attacker does not learn it.
pub(super) fn auth_problem(error: AuthError) -> Problem {
    if let Some(error) = error.token_error() {
        tracing::debug!("a token was refused: {error}");
    }
    error.into()
}
