//! Who is signed in to the console.

use chrono::TimeDelta;

use super::{Db, at};
use crate::sessions::{Session, SessionHash};

#[tokio::test]
async fn a_session_holds_until_its_end_and_leaves_nothing_behind() {
    let db = Db::new().await;
    let hour = TimeDelta::hours(1);
    let session = |name: &str, expires_at| Session {
        key_name: name.to_owned(),
        key_hash: vec![7; 32],
        expires_at,
    };
    let (ops, desk) = (SessionHash([1; 32]), SessionHash([2; 32]));
    let of_ops = session("ops", at(0) + hour);
    db.store.begin_session(ops, &of_ops, at(0)).await.unwrap();
    let before = at(0) + hour - TimeDelta::milliseconds(1);
    assert_eq!(db.store.session(ops, before).await.unwrap(), Some(of_ops));
    assert_eq!(db.store.session(ops, at(0) + hour).await.unwrap(), None);
    assert_eq!(db.store.session(desk, at(0)).await.unwrap(), None);
    // The next one that begins sweeps it away.
    let later = at(0) + hour + hour;
    let of_desk = session("desk", later + hour);
    db.store.begin_session(desk, &of_desk, later).await.unwrap();
    assert_eq!(db.store.session(ops, at(0)).await.unwrap(), None);
    db.store.end_session(desk).await.unwrap();
    db.store.end_session(desk).await.unwrap();
    assert_eq!(db.store.session(desk, later).await.unwrap(), None);
}
