//! Ways to break the protocol on purpose. Each must be found.

/// A mistake that somebody could make in the real program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// The job is acknowledged when it is taken, before anything is recorded.
    AcknowledgesBeforeRecord,
    /// What comes next is published before the round is recorded.
    PublishesBeforeRecord,
    /// A retry goes to all targets of the round, those that accepted included.
    RetriesAllTargets,
    /// The reconciler publishes the first job again, without looking at what has been recorded.
    ReconcilesFromScratch,
    /// Nobody looks for what no queue knows.
    NeverReconciles,
    /// A record counts whoever has the claim by now.
    RecordsWithoutFence,
    /// A record counts although its round has been recorded.
    RecordsTwice,
    /// A job is worked on although another worker has it in hand.
    IgnoresClaims,
    /// A copy of a round that has been recorded is worked on.
    SendsStaleCopies,
    /// Who takes over from an interrupted worker does not remember that.
    ForgetsInterruptions,
    /// After a *maybe delivered* another provider is asked.
    AsksAnotherAfterMaybe,
    /// A replay goes to all devices, those that accepted included.
    ReplaysAllTargets,
    /// A replay begins as if nothing could have got through before.
    ReplayForgetsMaybe,
    /// A dead letter ends its notification although its round has been recorded.
    EndsWithStaleLetters,
}
