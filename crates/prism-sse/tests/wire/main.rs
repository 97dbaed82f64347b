//! The wire format, checked with an independent decoder and with vectors written from the standard.
//!
//! An independent decoder must read exactly what was encoded, and our parser must read any bytes as
//! the standard says. Hostile text at every entry point of the library must not add or change an
//! event.

mod entry_points;
mod hostile;
mod independent;
mod manager_events;
mod parser;
mod resume;
mod round_trip;
mod stream;
mod vectors;
