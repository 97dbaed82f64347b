//! The text format of `text/event-stream`, and nothing else.
//!
//! Everything here is pure: values are encoded to bytes, and bytes are parsed to values. There is
//! no clock, no runtime, no lock and no HTTP in this module, and a single encoder.
//!
//! The format is the one of the WHATWG HTML standard, section 9.2.5 and 9.2.6, "Parsing an event
//! stream" and "Interpreting an event stream".

mod encode;
mod event;
mod id;
mod invalid;
mod parse;

pub(crate) use encode::{Framed, HEARTBEAT, HEARTBEAT_CHUNK, LAST_CHUNK, block, retry_line};
pub(crate) use event::whole_millis;
pub use event::{Event, EventName};
pub(crate) use id::EARLIEST;
pub use id::{ConnectionId, Epoch, EventId, InvalidConnectionId, InvalidPosition, Position};
pub use invalid::{Field, InvalidEvent};
pub use parse::{Parsed, ParsedEvent, Parser};
