//! Model checks of the core, in `tests/`. Run them with `cargo xtask loom`.
