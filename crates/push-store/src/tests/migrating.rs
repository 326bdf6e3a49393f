use std::sync::Arc;

use super::{Db, at};
use crate::{Acceptance, Item, Migrated, StoreError, UnknownCustomer};

#[tokio::test(flavor = "multi_thread")]
async fn eight_replicas_migrate_at_once() {
    let db = Arc::new(Db::unmigrated().await);
    assert!(db.store.migration_pending().await.unwrap());
    let replicas = futures::future::join_all((0..8).map(|_| {
        let db = Arc::clone(&db);
        tokio::spawn(async move { db.replica().await.migrate().await.unwrap().applied })
    }))
    .await;
    let applied: Vec<usize> = replicas.into_iter().map(Result::unwrap).collect();
    let migrations =
        usize::try_from(db.one("SELECT COUNT(*) FROM _sqlx_migrations").await).unwrap();
    assert!(migrations >= 4);
    assert_eq!(applied.iter().sum::<usize>(), migrations, "{applied:?}");
    assert_eq!(
        applied.iter().filter(|applied| **applied > 0).count(),
        1,
        "one works, the others wait"
    );
    assert!(!db.store.migration_pending().await.unwrap());
    assert_eq!(db.store.migrate().await.unwrap(), Migrated { applied: 0 });
    Arc::into_inner(db).unwrap().done().await;
}

#[tokio::test]
async fn a_migration_that_was_interrupted_is_run_again() {
    let db = Db::new().await;
    db.execute("UPDATE _sqlx_migrations SET success = FALSE WHERE version = 2")
        .await;
    assert!(db.store.migration_pending().await.unwrap());
    assert_eq!(db.store.migrate().await.unwrap(), Migrated { applied: 1 });
    db.done().await;
}

#[tokio::test]
async fn every_migration_can_run_twice() {
    let db = Db::new().await;
    let all = usize::try_from(db.one("SELECT COUNT(*) FROM _sqlx_migrations").await).unwrap();
    db.execute("DELETE FROM _sqlx_migrations").await;
    assert_eq!(db.store.migrate().await.unwrap(), Migrated { applied: all });
    db.done().await;
}

#[tokio::test]
async fn an_old_program_starts_beside_a_newer_schema_but_not_beside_an_edited_one() {
    let db = Db::new().await;
    db.execute(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (9999, 'of a newer program', TRUE, 'x', 0)",
    )
    .await;
    assert_eq!(db.store.migrate().await.unwrap(), Migrated { applied: 0 });
    db.execute("UPDATE _sqlx_migrations SET checksum = 'x' WHERE version = 1")
        .await;
    let error = db.store.migrate().await.unwrap_err();
    assert!(
        matches!(error, StoreError::Migration { version: 1, .. }),
        "{error}"
    );
    db.done().await;
}

#[tokio::test]
async fn the_booking_backends_customers_are_left_alone() {
    let db = Db::unmigrated().await;
    db.execute(
        "CREATE TABLE customers (id INT PRIMARY KEY AUTO_INCREMENT, email VARCHAR(50) NOT NULL)",
    )
    .await;
    db.execute("INSERT INTO customers (id, email) VALUES (123, 'a@example.com')")
        .await;
    db.store.migrate().await.unwrap();
    assert_eq!(
        db.one("SELECT COUNT(*) FROM customers WHERE email = 'a@example.com'")
            .await,
        1
    );
    let known = db
        .store
        .known_customers(&[super::seed::customer(123), super::seed::customer(124)])
        .await;
    assert_eq!(known.unwrap(), [super::seed::customer(123)].into());
    // It wants more than an id: an error that says so, and no row.
    let error = db
        .store
        .ensure_customer(super::seed::customer(124))
        .await
        .unwrap_err();
    assert_eq!(error, StoreError::Refused(1364));
    // An id that its column cannot hold is not turned into another one.
    db.execute("ALTER TABLE customers MODIFY email VARCHAR(50) NULL")
        .await;
    let too_large = super::seed::customer(1 << 40);
    assert!(!db.store.ensure_customer(too_large).await.unwrap());
    assert_eq!(db.one("SELECT COUNT(*) FROM customers").await, 1);
    db.execute("INSERT INTO customers (id) VALUES (2147483647)")
        .await;
    let known = db
        .store
        .known_customers(&[super::seed::customer(1 << 40)])
        .await;
    assert!(known.unwrap().is_empty(), "nor taken for another one");
    // Nor does it take others with it.
    let batch = [124, 1 << 40, 125].map(super::seed::notification);
    let answers = db.store.accept(&batch, UnknownCustomer::Create, at(0));
    assert_eq!(
        answers.await.unwrap().acceptances,
        [
            Acceptance::Now(vec![Item::Accepted]),
            Acceptance::Now(vec![Item::UnknownCustomer]),
            Acceptance::Now(vec![Item::Accepted])
        ]
    );
    db.done().await;
}
