//! Whether all that was accepted is accounted for.

use serde::Deserialize;

use super::finding::Findings;
use crate::client::Client;
use crate::failure::Failure;

const CHECK: &str = "books";

#[derive(Deserialize)]
struct Books {
    books: Option<Figures>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Figures {
    accepted: u64,
    pending: u64,
    overdue: u64,
    out_of_balance: i64,
}

/// Looks at them.
pub async fn check(client: &Client, findings: &mut Findings) {
    match ask(client).await {
        Ok(Books { books: Some(books) }) => judge(&books, findings),
        Ok(Books { books: None }) => {
            findings.ok(CHECK, "not read yet since push-api was started");
        }
        Err(failure) => findings.warning(
            CHECK,
            failure.to_string(),
            "mend what `ready` says; if push-api is older than pushctl, upgrade it",
        ),
    }
}

async fn ask(client: &Client) -> Result<Books, Failure> {
    client.get(&["admin", "books"]).answer().await?.read()
}

fn judge(books: &Figures, findings: &mut Findings) {
    let Figures {
        accepted,
        pending,
        overdue,
        out_of_balance,
    } = books;
    if *out_of_balance != 0 {
        findings.problem(
            CHECK,
            format!("they do not balance, by {out_of_balance} of {accepted}"),
            "`push-api recount` counts anew; see the alert PushBooksOutOfBalance and its runbook",
        );
    }
    if *overdue > 0 {
        findings.problem(
            CHECK,
            format!("{overdue} of {pending} pending notifications are looked after by nobody"),
            "do workers run? See the alert PushNotificationsOverdue and its runbook",
        );
    }
    if *out_of_balance == 0 && *overdue == 0 {
        findings.ok(
            CHECK,
            format!("{accepted} accepted, {pending} pending, and all accounted for"),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    #[test]
    fn a_leak_and_what_nobody_looks_after_are_problems() {
        let found = |overdue, out_of_balance| {
            let books = Figures {
                accepted: 9,
                pending: 3,
                overdue,
                out_of_balance,
            };
            let mut findings = Findings::default();
            judge(&books, &mut findings);
            (findings.list().len(), findings.worst())
        };
        assert_eq!(found(0, 0), (1, Level::Ok));
        assert_eq!(found(1, 0), (1, Level::Problem));
        assert_eq!(found(0, -1), (1, Level::Problem));
        assert_eq!(found(1, 1), (2, Level::Problem));
    }
}
