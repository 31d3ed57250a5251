//! A page to watch a run with while it goes on: `mirage evolve --serve ADDR`.
//!
//! The run tells a [`Feed`] after every generation what is new, and a [`Server`] shows
//! it to browsers. The two meet only at the feed, for as long as it takes to copy a few
//! pointers: pictures become PNG files on the server's one thread, and only those that
//! somebody looks at.
//!
//! The page has no password. It is meant for this machine; at any other address than a
//! loopback one, whoever reaches the port can watch (and do nothing else: nothing is
//! read from disk, and nothing can be changed).
//!
//! | path | what |
//! |---|---|
//! | `/` | the page |
//! | `/state/SINCE` | JSON: what is newer than version SINCE; everything for 0 |
//! | `/elite/CLASS/VERSION.png` | the picture of a class's elite |
//! | `/thumbnail/CLASS/VERSION.png` | the same, at most 96 pixels wide and high |

mod address;
mod feed;
mod picture;
mod server;
mod site;
mod state;

pub use address::{AddressError, address, in_words};
pub use feed::{Feed, Phase, Run};
pub use server::{ServeError, Server};
