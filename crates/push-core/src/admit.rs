//! Whether a job that came out of the queue is to be worked on.

use crate::id::NotificationId;
use crate::job::Job;
use crate::status::Status;

/// What the database knows of a notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Where it stands.
    pub status: Status,
    /// The last round that was recorded; 0 before the first.
    pub round: u32,
}

/// What the database knows of a notification, after a worker tried to claim it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// Where it stands.
    pub recorded: Recorded,
    /// Whether the claim is ours; if not, another worker has it in hand, or nothing is left to do.
    pub ours: bool,
    /// Its customer was erased after it was accepted.
    pub erased: bool,
    /// The newest notification with its collapse key; `None` where it has no such key.
    pub newest: Option<NotificationId>,
    /// An older one with its collapse key is in some worker's hands, and may be on its way to a device just now.
    pub behind: bool,
    /// How many workers had this round in hand before, and were interrupted before its record.
    pub interruptions: u32,
}

impl Claimed {
    /// Workers may be killed by chance, or by another notification that they had in hand together with this one; but
    /// not so often. The broker's limit for deliveries is the same.
    pub const INTERRUPTIONS_MAX: u32 = 20;
}

/// What to do with a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It is due.
    Deliver,
    /// It is due; and a worker that had it in hand was interrupted, so that it may have been sent already.
    DeliverInterrupted,
    /// It has interrupted one worker after the other: not tried again.
    Interrupts,
    /// The notification has ended: a duplicate. Acknowledge it, do nothing.
    AlreadySettled,
    /// This round has been recorded, so the job is a copy that came back because its
    /// acknowledgement was lost. Should its successor be lost as well, the reconciler makes a new one.
    Stale,
    /// Another worker has the notification in hand: look again when its claim must be over.
    Elsewhere,
    /// Not yet: a newer one must not be shown before an older one that is on its way (P3). Look again in a moment.
    Behind,
    /// The database has no such notification: not ours to send.
    Unknown,
}

/// Compares a job with what is recorded (P2: a redelivered or duplicated job sends nothing twice).
#[must_use]
pub fn admit(job: &Job, claimed: Option<Claimed>) -> Admission {
    let Some(Claimed {
        recorded,
        ours,
        erased: _,
        newest: _,
        behind,
        interruptions,
    }) = claimed
    else {
        return Admission::Unknown;
    };
    match recorded.status {
        Status::Sent | Status::Failed | Status::Suppressed => Admission::AlreadySettled,
        Status::Pending if recorded.round >= job.round => Admission::Stale,
        Status::Pending if !ours && behind => Admission::Behind,
        Status::Pending if !ours => Admission::Elsewhere,
        Status::Pending if interruptions > Claimed::INTERRUPTIONS_MAX => Admission::Interrupts,
        Status::Pending if interruptions > 0 => Admission::DeliverInterrupted,
        Status::Pending => Admission::Deliver,
    }
}
