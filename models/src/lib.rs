//! Model checks of the core, in `tests/`, and what they share. Run them with `cargo xtask loom`.

#[cfg(prism_loom)]
mod wake_counter;

#[cfg(prism_loom)]
pub use wake_counter::WakeCounter;
