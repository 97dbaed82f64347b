//! The wire format, judged by a decoder that is not ours and by vectors written from the standard.
//!
//! Whatever the encoder writes must mean to a stranger exactly what was said; whatever anyone
//! writes, our parser must read as the standard does. Then hostile text goes through every door of
//! the library, and nothing but the events that were meant may come out.

mod doors;
mod hostile;
mod independent;
mod manager_events;
mod parser;
mod resume;
mod round_trip;
mod stream;
mod vectors;
