//! How pushctl ends: one enum, from which `--help`, the manual page and the README are written or checked.

/// What the exit code says. Of several results the greatest counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// All is well.
    Fine = 0,
    /// Refused, or it did not come about.
    Failed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// No answer of push-api.
    Unreachable = 3,
    /// The key is missing, unknown, or not for this.
    Credentials = 4,
    /// There is no such thing.
    NotFound = 5,
    /// Too many requests, or the service cannot answer now.
    Busy = 6,
    /// `doctor` found something to look at.
    Warnings = 7,
    /// `doctor` found something to mend.
    Problems = 8,
    /// Ctrl-C.
    Interrupted = 130,
}

impl Exit {
    /// Every one, in their order.
    pub const ALL: [Self; 10] = [
        Self::Fine,
        Self::Failed,
        Self::Usage,
        Self::Unreachable,
        Self::Credentials,
        Self::NotFound,
        Self::Busy,
        Self::Warnings,
        Self::Problems,
        Self::Interrupted,
    ];

    /// The number.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// What it means.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Fine => "done",
            Self::Failed => {
                "refused, or what was asked for or waited for did not come about (a notification that was not sent, an \
                 operation that left something undone, a question answered with no)"
            }
            Self::Usage => "wrong arguments or settings",
            Self::Unreachable => "push-api cannot be reached, or what answers is not push-api",
            Self::Credentials => "no API key, an unknown one, or one without the scope",
            Self::NotFound => "there is no such customer, notification, dead letter or operation",
            Self::Busy => "too many requests, or the service cannot answer now: try again later",
            Self::Warnings => "doctor: there are warnings, and no problems",
            Self::Problems => "doctor: there are problems",
            Self::Interrupted => "stopped by Ctrl-C; an operation goes on",
        }
    }

    /// The list for `--help` and the manual page.
    pub fn help() -> String {
        let mut help = "Exit codes:\n".to_owned();
        for exit in Self::ALL {
            help.push_str(&format!("  {:>3}  {}\n", exit.code(), exit.meaning()));
        }
        help
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codes_are_distinct_and_in_order() {
        assert!(Exit::ALL.is_sorted_by(|a, b| a.code() < b.code() && a < b));
    }

    #[test]
    fn the_readme_tells_every_code() {
        let readme = include_str!("../../../README.md");
        for exit in Exit::ALL {
            let row = format!("| {} | {} |", exit.code(), exit.meaning());
            assert!(readme.contains(&row), "missing in README.md: {row}");
        }
    }
}
