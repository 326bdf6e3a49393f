use std::time::Duration;

use tokio::time::timeout;

use super::{Db, settings};
use crate::{Store, StoreError, StoreSettings, Unavailable};

/// Far more than any limit of the store, on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_store_is_ready_before_its_database_and_says_what_is_wrong() {
    let away = settings("mysql://root:hunter2@127.0.0.1:1/db");
    let store = Store::connect(&away).await.unwrap();
    let error = store.ping().await.unwrap_err();
    assert_eq!(
        error,
        StoreError::Unavailable(Unavailable::ConnectionRefused)
    );
    assert!(error.is_unavailable());
    assert_eq!(error.reason(), "connection_refused");
    assert!(!format!("{error} {error:?} {away:?} {store:?}").contains("hunter2"));
}

#[tokio::test]
async fn ping_tells_causes_apart() {
    let db = Db::new().await;
    db.store.ping().await.unwrap();
    let asked = |url: String| async move {
        Store::connect(&settings(&url))
            .await
            .unwrap()
            .ping()
            .await
            .unwrap_err()
    };
    let missing = asked(format!("{}/push_test_missing", db.server)).await;
    assert_eq!(
        missing,
        StoreError::Unavailable(Unavailable::UnknownDatabase)
    );
    let nobody = db.server.replace("root", "nobody:wrong");
    let denied = asked(format!("{nobody}/{}", db.name)).await;
    assert_eq!(denied, StoreError::Unavailable(Unavailable::AccessDenied));
    let unknown = asked("mysql://root@no-such-host.invalid/db".to_owned()).await;
    assert!(unknown.is_unavailable(), "{unknown}");
    db.done().await;
}

#[tokio::test]
async fn a_server_that_does_not_speak_is_given_up() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("mysql://root@{}/db", silent.local_addr().unwrap());
    let store = Store::connect(&settings(&url)).await.unwrap();
    let asked = timeout(PATIENCE, store.ping()).await;
    let error = asked.expect("not waited for without end").unwrap_err();
    assert_eq!(error, StoreError::Unavailable(Unavailable::TimedOut));
}

#[tokio::test]
async fn a_url_without_database_is_refused_without_repeating_it() {
    for url in [
        "postgres://u:hunter2@h/d",
        "mysql://u:hunter2@h",
        "mysql://u:hunter2@h/",
    ] {
        let error = Store::connect(&settings(url)).await.unwrap_err();
        assert!(!error.is_unavailable());
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{url}");
    }
}

#[tokio::test]
async fn every_connection_is_strict_utc_and_read_committed() {
    let db = Db::new().await;
    // MariaDB 10.11 and MySQL know the isolation level under different names.
    let isolation: Result<String, _> = sqlx::query_scalar("SELECT @@transaction_isolation")
        .fetch_one(&db.store.pool)
        .await;
    let isolation = match isolation {
        Ok(isolation) => isolation,
        Err(_) => sqlx::query_scalar("SELECT @@tx_isolation")
            .fetch_one(&db.store.pool)
            .await
            .unwrap(),
    };
    assert_eq!(isolation, "READ-COMMITTED");
    let (zone, mode): (String, String) = sqlx::query_as("SELECT @@time_zone, @@sql_mode")
        .fetch_one(&db.store.pool)
        .await
        .unwrap();
    assert_eq!(zone, "+00:00");
    assert!(
        mode.contains("STRICT_ALL_TABLES") && !mode.contains("PIPES_AS_CONCAT"),
        "{mode}"
    );
    assert_eq!(
        db.one("SELECT CAST(@@innodb_lock_wait_timeout AS SIGNED)")
            .await,
        5
    );
    assert_eq!(db.one(SILENCE).await, 60);
    // A value that does not fit is an error, and the error does not repeat it.
    let error = sqlx::query(
        "INSERT INTO provider_switches (provider, changed_by) VALUES ('fcm', REPEAT('secret', 20))",
    )
    .execute(&db.store.pool)
    .await
    .map_err(StoreError::from)
    .unwrap_err();
    assert!(!format!("{error} {error:?}").contains("secret"));
    db.done().await;
}

/// After that the server ends a transaction whose client is gone.
const SILENCE: &str = "SELECT CAST(@@wait_timeout AS SIGNED)";

#[tokio::test]
async fn a_connection_that_went_silent_gives_its_place_back() {
    let db = Db::new().await;
    let one = StoreSettings {
        connections_max: 1,
        ..settings(&format!("{}/{}", db.server, db.name))
    };
    let store = Store::connect(&one).await.unwrap();
    // A call that is given up while the server says nothing.
    let silent = sqlx::query("SELECT SLEEP(600)").execute(&store.pool);
    assert!(timeout(Duration::from_millis(200), silent).await.is_err());
    let next = sqlx::query("SELECT 1").execute(&store.pool).await;
    next.map_err(StoreError::from).unwrap();
    let silence = sqlx::query_scalar::<_, i64>(SILENCE);
    assert_eq!(silence.fetch_one(&store.pool).await.unwrap(), 60);
    db.done().await;
}
