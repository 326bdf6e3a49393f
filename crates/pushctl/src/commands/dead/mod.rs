//! `pushctl dead`

mod act;
mod filter;
mod letter;
mod list;
mod many;

use clap::Subcommand;

use crate::commands::Context;
use crate::failure::Failure;

/// What to do with dead letters.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// List dead letters, the newest first
    List(list::Args),
    /// Tell all of one: every failure that led to it, who did what with it, what came of it
    Show(letter::Args),
    /// Try dead letters again: those that are named, or all open ones that a filter means
    Replay(act::Replay),
    /// Put dead letters aside, with the reason: those that are named, or all open ones that a filter means
    Discard(act::Discard),
}

impl Command {
    /// Does it.
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::List(args) => args.run(context).await,
            Self::Show(args) => args.run(context).await,
            Self::Replay(args) => args.run(context).await,
            Self::Discard(args) => args.run(context).await,
        }
    }
}
