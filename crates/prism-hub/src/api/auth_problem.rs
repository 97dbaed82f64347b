//! The response to a request that is not authorized.

use crate::auth::AuthError;
use crate::problem::Problem;

/// Turns an authorization error into its response. The defect of a token goes to the log alone, so
/// that an attacker cannot tell defects apart.
pub(super) fn auth_problem(error: AuthError) -> Problem {
    if let Some(defect) = error.defect() {
        tracing::debug!(?defect, "a token was refused");
    }
    error.into()
}
