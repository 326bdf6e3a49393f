//! Registering a device.

use chrono::{DateTime, Utc};
use push_core::id::{CustomerId, RegistrationId};
use push_core::provider::Provider;
use push_seal::Keyring;
use sqlx::{FromRow, MySqlConnection};

use super::most::switch_off_too_many;
use super::version::count_up;
use super::{Registered, Registration, TABLE};
use crate::decode::{Row, millis};
use crate::error::StoreError;
use crate::retry::Tries;
use crate::{Store, hash, sealing};

/// At most three rows: the device's, and one for each token. Each part is served by a unique key.
const FIND: &str = "\
    SELECT id FROM customer_push_tokens WHERE customer_id = ? AND device_id = ? \
    UNION SELECT id FROM customer_push_tokens WHERE fcm_token_hash = ? \
    UNION SELECT id FROM customer_push_tokens WHERE expo_token_hash = ?";

/// In the order of the key, so that two registrations wait for each other and do not deadlock. 0 is no row.
const LOCK_FOUND: &str = "\
    SELECT id, customer_id, device_id, platform, is_active, fcm_token_hash, expo_token_hash, \
        fcm_dead_at IS NULL AS fcm_alive, expo_dead_at IS NULL AS expo_alive \
    FROM customer_push_tokens WHERE id IN (?, ?, ?) ORDER BY id FOR UPDATE";

const INSERT: &str = "\
    INSERT INTO customer_push_tokens (customer_id, device_id, platform, fcm_token, fcm_token_hash, \
        expo_push_token, expo_token_hash, is_active, registered_at, created_at, updated_at) \
    VALUES (?, ?, ?, ?, ?, ?, ?, TRUE, ?, ?, ?)";

/// A token that is not given keeps its value, and stays off if it was switched off. The columns are set in the order of
/// writing.
const UPDATE: &str = "\
    UPDATE customer_push_tokens SET device_id = COALESCE(?, device_id), platform = ?, \
        fcm_dead_at = IF(? IS NULL, fcm_dead_at, NULL), \
        fcm_off_because = IF(fcm_dead_at IS NULL, NULL, fcm_off_because), \
        fcm_token = COALESCE(?, fcm_token), fcm_token_hash = COALESCE(?, fcm_token_hash), \
        expo_dead_at = IF(? IS NULL, expo_dead_at, NULL), \
        expo_off_because = IF(expo_dead_at IS NULL, NULL, expo_off_because), \
        expo_push_token = COALESCE(?, expo_push_token), expo_token_hash = COALESCE(?, expo_token_hash), \
        is_active = TRUE, registered_at = ?, updated_at = ? \
    WHERE id = ?";

const LOSE_FCM: &str = "\
    UPDATE customer_push_tokens SET fcm_token = NULL, fcm_token_hash = NULL, fcm_dead_at = NULL, \
        fcm_off_because = 'moved', \
        is_active = (is_active AND expo_push_token IS NOT NULL AND expo_dead_at IS NULL) \
    WHERE id = ? AND fcm_token_hash = ?";

const LOSE_EXPO: &str = "\
    UPDATE customer_push_tokens SET expo_push_token = NULL, expo_token_hash = NULL, expo_dead_at = NULL, \
        expo_off_because = 'moved', \
        is_active = (is_active AND fcm_token IS NOT NULL AND fcm_dead_at IS NULL) \
    WHERE id = ? AND expo_token_hash = ?";

const GIVEN_UP: &str = "\
    UPDATE customer_push_tokens SET is_active = FALSE, \
        fcm_off_because = IF(fcm_token IS NULL OR fcm_dead_at IS NOT NULL, fcm_off_because, 'moved'), \
        expo_off_because = IF(expo_push_token IS NULL OR expo_dead_at IS NOT NULL, expo_off_because, 'moved'), \
        fcm_dead_at = IF(fcm_token IS NULL, NULL, COALESCE(fcm_dead_at, ?)), \
        expo_dead_at = IF(expo_push_token IS NULL, NULL, COALESCE(expo_dead_at, ?)) \
    WHERE id = ?";

#[cfg(test)]
pub(crate) const STATEMENTS: &[(&str, &str)] = &[
    ("FIND", FIND),
    ("LOCK_FOUND", LOCK_FOUND),
    ("INSERT", INSERT),
    ("UPDATE", UPDATE),
    ("LOSE_FCM", LOSE_FCM),
    ("LOSE_EXPO", LOSE_EXPO),
    ("GIVEN_UP", GIVEN_UP),
];

impl Store {
    /// Adds or updates a device. It is matched by `deviceId`, else by either token; a token that
    /// another row has moves here; a token that was switched off comes back, and one that is not given stays
    /// as it is. Apps do so at each start: only what is news counts as a change. Beyond [`DEVICES_MAX`](super::DEVICES_MAX)
    /// the device that was registered longest ago is switched off.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked.
    pub async fn register(
        &self,
        registration: &Registration,
        now: DateTime<Utc>,
    ) -> Result<Registered, StoreError> {
        self.may_seal().await?;
        let wanted = Wanted::of(&self.keys, registration, now)?;
        let mut tries = Tries::new();
        loop {
            match self.register_once(&wanted).await {
                // Someone else inserted the same token or device after we had looked.
                Err(error) if tries.again_after_race(&error).await => {}
                result => return result,
            }
        }
    }

    async fn register_once(&self, wanted: &Wanted<'_>) -> Result<Registered, StoreError> {
        let mut transaction = self.pool.begin().await?;
        let rows = lock_matching(&mut transaction, wanted).await?;
        let found = wanted.target(&rows);
        let target = found.map(|row| row.id);
        let mut changed = Vec::new();
        for row in rows.iter().filter(|row| Some(row.id) != target) {
            if take_tokens(&mut transaction, wanted, row).await? {
                let at = Row {
                    table: TABLE,
                    key: row.id,
                };
                changed.push(at.read("customer_id", CustomerId::try_from(row.customer_id).ok())?);
            }
        }
        let is_news = found.is_none_or(|row| wanted.is_news_to(row));
        if is_news {
            changed.push(wanted.given.customer);
        }
        let id = match target {
            Some(id) => update(&mut transaction, wanted, id).await?,
            None => insert(&mut transaction, wanted).await?,
        };
        let registration = RegistrationId(id);
        let changed = count_up(&mut transaction, &changed).await?;
        if is_news {
            let customer = wanted.given.customer;
            switch_off_too_many(&mut transaction, customer, registration, wanted.now).await?;
        }
        transaction.commit().await?;
        Ok(Registered {
            registration,
            new: target.is_none(),
            changed,
        })
    }
}

/// A registration with its keys.
struct Wanted<'a> {
    given: &'a Registration,
    fcm_hash: Option<Vec<u8>>,
    expo_hash: Option<Vec<u8>>,
    /// The tokens as they are kept.
    fcm: Option<String>,
    expo: Option<String>,
    now: DateTime<Utc>,
}

/// A row that has the device or one of the tokens.
#[derive(FromRow)]
struct Match {
    id: u64,
    customer_id: i64,
    device_id: Option<String>,
    platform: String,
    is_active: bool,
    fcm_token_hash: Option<Vec<u8>>,
    expo_token_hash: Option<Vec<u8>>,
    fcm_alive: bool,
    expo_alive: bool,
}

impl<'a> Wanted<'a> {
    fn of(keys: &Keyring, given: &'a Registration, now: DateTime<Utc>) -> Result<Self, StoreError> {
        let kept = |token: &str, provider| {
            let place = sealing::token(provider, given.customer.get());
            sealing::seal(keys, &place, token.to_owned())
        };
        let fcm = given.fcm.as_ref();
        let fcm = fcm.map(|token| kept(token.reveal(), Provider::Fcm));
        let expo = given.expo.as_ref();
        let expo = expo.map(|token| kept(token.reveal(), Provider::Expo));
        Ok(Self {
            fcm: fcm.transpose()?,
            expo: expo.transpose()?,
            given,
            fcm_hash: given
                .fcm
                .as_ref()
                .map(|token| hash::of_token(token.reveal())),
            expo_hash: given
                .expo
                .as_ref()
                .map(|token| hash::of_token(token.reveal())),
            now: millis(now),
        })
    }

    fn device_id(&self) -> Option<&str> {
        self.given.device_id.as_ref().map(|id| id.as_str())
    }

    fn has_device_id(&self, row: &Match) -> bool {
        row.device_id.is_some() && row.device_id.as_deref() == self.device_id()
    }

    fn has_fcm(&self, row: &Match) -> bool {
        self.fcm_hash.is_some() && row.fcm_token_hash == self.fcm_hash
    }

    fn has_expo(&self, row: &Match) -> bool {
        self.expo_hash.is_some() && row.expo_token_hash == self.expo_hash
    }

    /// Whether pushes to the device will be others than before.
    fn is_news_to(&self, row: &Match) -> bool {
        let given = self.given;
        let same = row.is_active
            && row.platform == given.platform.as_str()
            && (given.device_id.is_none() || self.has_device_id(row))
            && (given.fcm.is_none() || (self.has_fcm(row) && row.fcm_alive))
            && (given.expo.is_none() || (self.has_expo(row) && row.expo_alive));
        !same
    }

    /// The row that is this device: the customer's own with its id, else with one of its tokens.
    fn target<'r>(&self, rows: &'r [Match]) -> Option<&'r Match> {
        let own = || {
            rows.iter()
                .filter(|row| row.customer_id == self.given.customer.get())
        };
        own()
            .find(|row| self.has_device_id(row))
            .or_else(|| own().find(|row| self.has_fcm(row)))
            .or_else(|| own().find(|row| self.has_expo(row)))
    }
}

async fn lock_matching(
    connection: &mut MySqlConnection,
    wanted: &Wanted<'_>,
) -> Result<Vec<Match>, StoreError> {
    let found: Vec<u64> = sqlx::query_scalar(FIND)
        .bind(wanted.given.customer.get())
        .bind(wanted.device_id())
        .bind(&wanted.fcm_hash)
        .bind(&wanted.expo_hash)
        .fetch_all(&mut *connection)
        .await?;
    let found = |nth: usize| found.get(nth).copied().unwrap_or(0);
    let rows = sqlx::query_as(LOCK_FOUND)
        .bind(found(0))
        .bind(found(1))
        .bind(found(2))
        .fetch_all(connection)
        .await?;
    Ok(rows)
}

/// Takes our tokens from a row that is not our device; `false` when it has none of them any more.
async fn take_tokens(
    connection: &mut MySqlConnection,
    wanted: &Wanted<'_>,
    row: &Match,
) -> Result<bool, StoreError> {
    let fcm = wanted.has_fcm(row).then_some((LOSE_FCM, &wanted.fcm_hash));
    let expo = wanted
        .has_expo(row)
        .then_some((LOSE_EXPO, &wanted.expo_hash));
    let mut taken = false;
    for (statement, hash) in fcm.into_iter().chain(expo) {
        sqlx::query(statement)
            .bind(row.id)
            .bind(hash)
            .execute(&mut *connection)
            .await?;
        taken = true;
    }
    // A row is one device, and that is known by another row now. What else is left here would show up on the wrong
    // person's screen (P4), or be a second way to the same screen (P2). Should it have been two devices after all,
    // the other one is back with its next registration.
    if taken {
        sqlx::query(GIVEN_UP)
            .bind(wanted.now)
            .bind(wanted.now)
            .bind(row.id)
            .execute(connection)
            .await?;
    }
    Ok(taken)
}

async fn insert(connection: &mut MySqlConnection, wanted: &Wanted<'_>) -> Result<u64, StoreError> {
    let given = wanted.given;
    let inserted = sqlx::query(INSERT)
        .bind(given.customer.get())
        .bind(wanted.device_id())
        .bind(given.platform.as_str())
        .bind(&wanted.fcm)
        .bind(&wanted.fcm_hash)
        .bind(&wanted.expo)
        .bind(&wanted.expo_hash)
        .bind(wanted.now)
        .bind(wanted.now)
        .bind(wanted.now)
        .execute(connection)
        .await?;
    Ok(inserted.last_insert_id())
}

async fn update(
    connection: &mut MySqlConnection,
    wanted: &Wanted<'_>,
    id: u64,
) -> Result<u64, StoreError> {
    let given = wanted.given;
    sqlx::query(UPDATE)
        .bind(wanted.device_id())
        .bind(given.platform.as_str())
        .bind(&wanted.fcm_hash)
        .bind(&wanted.fcm)
        .bind(&wanted.fcm_hash)
        .bind(&wanted.expo_hash)
        .bind(&wanted.expo)
        .bind(&wanted.expo_hash)
        .bind(wanted.now)
        .bind(wanted.now)
        .bind(id)
        .execute(connection)
        .await?;
    Ok(id)
}
