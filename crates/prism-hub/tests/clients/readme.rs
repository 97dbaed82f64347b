//! What README.md says to type.
