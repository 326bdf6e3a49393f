//! Who is signed in to the console.

use chrono::TimeDelta;

use super::{Db, at};
use crate::sessions::{Session, SessionHash};

#[tokio::test]
async fn a_session_holds_until_its_end() {
    let db = Db::new().await;
    let hour = TimeDelta::hours(1);
    let session = |name: &str, expires_at| Session {
        key_name: name.to_owned(),
        key_hash: vec![7; 32],
        expires_at,
    };
    let (ops, desk) = (SessionHash([1; 32]), SessionHash([2; 32]));
    let of_ops = session("ops", at(0) + hour);
    db.store.begin_session(ops, &of_ops).await.unwrap();
    let before = at(0) + hour - TimeDelta::milliseconds(1);
    assert_eq!(db.store.session(ops, before).await.unwrap(), Some(of_ops));
    assert_eq!(db.store.session(ops, at(0) + hour).await.unwrap(), None);
    assert_eq!(db.store.session(desk, at(0)).await.unwrap(), None);
    let of_desk = session("desk", at(0) + hour);
    db.store.begin_session(desk, &of_desk).await.unwrap();
    db.store.end_session(desk).await.unwrap();
    db.store.end_session(desk).await.unwrap();
    assert_eq!(db.store.session(desk, at(0)).await.unwrap(), None);
    db.done().await;
}

#[tokio::test]
async fn sessions_that_are_over_go_a_few_at_a_time() {
    let db = Db::new().await;
    for n in 1..=4 {
        let session = Session {
            key_name: "ops".to_owned(),
            key_hash: vec![7; 32],
            expires_at: at(0) + TimeDelta::hours(i64::from(n)),
        };
        let hash = SessionHash([n; 32]);
        db.store.begin_session(hash, &session).await.unwrap();
    }
    let until = at(0) + TimeDelta::hours(4);
    let mut purged = Vec::new();
    for _ in 0..3 {
        purged.push(db.store.purge_sessions(until, 2).await.unwrap());
    }
    assert_eq!(purged, [2, 1, 0]);
    let last = db.store.session(SessionHash([4; 32]), at(0)).await.unwrap();
    assert!(last.is_some(), "one that is not over is gone");
    db.done().await;
}
