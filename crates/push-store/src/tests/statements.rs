//! Every statement is prepared against the migrated schema, and none is left out.

use std::fs;
use std::path::Path;

use sqlx::{AssertSqlSafe, Executor, SqlSafeStr};

use super::Db;
use crate::{
    bookings, bulk, collapse, content, customers, dead_letters, devices, encryption, erasure,
    history, idempotency, lease, migrate, operations, preferences, quiet, rate, receipts, reseal,
    retention, scheduled, sessions, stats, store, switches, transport, waiting, worker_reports,
};

/// The constants, by name.
pub fn constants() -> Vec<(&'static str, String)> {
    let all = [
        store::STATEMENTS,
        migrate::STATEMENTS,
        lease::STATEMENTS,
        sessions::STATEMENTS,
        switches::STATEMENTS,
        transport::STATEMENTS,
        waiting::STATEMENTS,
        worker_reports::STATEMENTS,
        collapse::STATEMENTS,
        encryption::STATEMENTS,
        bookings::STATEMENTS,
        content::STATEMENTS,
        customers::STATEMENTS,
        erasure::STATEMENTS,
        devices::active::STATEMENTS,
        devices::most::STATEMENTS,
        devices::register::STATEMENTS,
        devices::off::STATEMENTS,
        devices::off_list::STATEMENTS,
        devices::version::STATEMENTS,
        history::accept::STATEMENTS,
        history::books::STATEMENTS,
        history::cancel::STATEMENTS,
        history::claim::STATEMENTS,
        history::deliveries::STATEMENTS,
        history::due::STATEMENTS,
        history::list::STATEMENTS,
        history::late::STATEMENTS,
        history::lock::STATEMENTS,
        history::opened::STATEMENTS,
        history::record::STATEMENTS,
        history::state::STATEMENTS,
        history::view::STATEMENTS,
        idempotency::STATEMENTS,
        receipts::due::STATEMENTS,
        receipts::ended::STATEMENTS,
        receipts::open::STATEMENTS,
        receipts::record::STATEMENTS,
        dead_letters::count::STATEMENTS,
        dead_letters::discard::STATEMENTS,
        dead_letters::letter::STATEMENTS,
        dead_letters::list::STATEMENTS,
        dead_letters::lock::STATEMENTS,
        dead_letters::record::STATEMENTS,
        dead_letters::replay::STATEMENTS,
        dead_letters::view::STATEMENTS,
        operations::bytes::STATEMENTS,
        operations::create::STATEMENTS,
        operations::step::STATEMENTS,
        operations::view::STATEMENTS,
        preferences::STATEMENTS,
        quiet::STATEMENTS,
        rate::STATEMENTS,
        scheduled::STATEMENTS,
        reseal::STATEMENTS,
        reseal::devices::STATEMENTS,
        reseal::history::STATEMENTS,
        reseal::letters::STATEMENTS,
        retention::STATEMENTS,
        stats::changes::STATEMENTS,
        stats::fold::STATEMENTS,
        stats::read::STATEMENTS,
        stats::recount::STATEMENTS,
    ]
    .concat();
    let one_row = |(name, sql)| (name, bulk::for_rows(sql, 1).0);
    all.into_iter().map(one_row).collect()
}

#[tokio::test]
async fn every_statement_fits_the_schema() {
    let db = Db::new().await;
    let mut connection = db.store.own_connection().await.unwrap();
    for (name, sql) in constants() {
        let sql = AssertSqlSafe(sql).into_sql_str();
        let prepared = (&mut connection).prepare(sql).await;
        assert!(prepared.is_ok(), "{name}: {:?}", prepared.err());
    }
    db.done().await;
}

/// The texts of our sources, without those of the tests.
fn sources(folder: &Path) -> Vec<String> {
    let mut texts = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("tests") {
            texts.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            texts.push(fs::read_to_string(path).unwrap());
        }
    }
    texts
}

#[test]
fn no_statement_is_missing_above() {
    let sources = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    assert!(sources.len() > 15);
    let listed = constants();
    let mut declared = 0;
    for text in &sources {
        for line in text.lines() {
            let constant = line
                .strip_prefix("pub(super) ")
                .unwrap_or(line)
                .strip_prefix("const ");
            if let Some((name, _)) = constant.and_then(|rest| rest.split_once(": &str =")) {
                // Texts that are no statements of one result.
                if ![
                    "TABLE",
                    "SESSION",
                    "ALREADY_HANDLED",
                    "ERASE",
                    "AT_ONE_MOMENT",
                    "ONE_MOMENT",
                    "PROOF",
                ]
                .contains(&name)
                {
                    declared += 1;
                    assert!(
                        listed.iter().any(|(known, _)| *known == name),
                        "{name} is not in its STATEMENTS"
                    );
                }
            }
        }
        assert!(
            !text.contains("QueryBuilder"),
            "a statement that is built cannot be listed; see bulk.rs"
        );
        assert!(!text.contains(".persistent("), "costs 40 ms; see bulk.rs");
        for literal in ["query(\"", "query_as(\"", "query_scalar(\""] {
            assert!(
                !text.contains(literal),
                "a statement without a name: {text}"
            );
        }
    }
    assert_eq!(declared, listed.len());
}
