//! What the tests inside this crate share. Those outside are in `tests/it`.

mod floods;
pub(crate) mod golden;
pub(crate) mod raw_h2;
mod refused_streams;
#[path = "../../tests/it/support/server.rs"]
#[expect(dead_code, reason = "most of it is for the tests outside")]
pub(crate) mod server;
