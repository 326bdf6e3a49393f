//! Customers as they were read last, so that another notification to the same one needs no second look at the devices.
//!
//! A copy is used only where the claim, which asks the database anyway, tells that the customer is still at its version:
//! so a copy is never older than the database, whatever became of the broker's messages (P4, P5). What is changed in
//! the tables by hand, past the programs and without its version, shows after [`Cache::KEEP`].

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use moka::sync::Cache as Moka;
use push_core::changed::Changed;
use push_core::id::CustomerId;
use push_core::left_out::TokenOff;
use push_core::notification::NotificationType;
use push_core::plan::Device;
use push_store::{Customer, Store, StoreError};

/// The customers that were read lately. Clones share them.
#[derive(Clone, Debug)]
pub struct Cache(Moka<CustomerId, Copy>);

/// A customer, and since when it is here.
#[derive(Clone, Debug)]
struct Copy {
    customer: Arc<Customer>,
    read: Instant,
}

impl Default for Cache {
    fn default() -> Self {
        let customers = Moka::builder()
            .max_capacity(Self::BYTES_MAX)
            .weigher(|_, copy: &Copy| bytes(&copy.customer))
            .time_to_live(Self::KEEP)
            .build();
        Self(customers)
    }
}

impl Cache {
    /// How long a copy is kept at most.
    pub const KEEP: Duration = Duration::from_secs(30);
    /// Memory for all, by [`bytes`]: some ten thousand customers. The whole worker is to stay below 30 MB.
    const BYTES_MAX: u64 = 6 * 1024 * 1024;

    /// Those of the customers that are here.
    pub fn known(
        &self,
        customers: &[CustomerId],
        now: Instant,
    ) -> HashMap<CustomerId, Arc<Customer>> {
        let fresh = |copy: &Copy| now.saturating_duration_since(copy.read) < Self::KEEP;
        let known = customers.iter().filter_map(|id| {
            let copy = self.0.get(id).filter(fresh)?;
            Some((*id, copy.customer))
        });
        known.collect()
    }

    /// Reads customers from the database, and keeps them.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked.
    pub async fn read(
        &self,
        store: &Store,
        customers: &[CustomerId],
    ) -> Result<HashMap<CustomerId, Arc<Customer>>, StoreError> {
        if customers.is_empty() {
            return Ok(HashMap::new());
        }
        let read = Instant::now();
        let found = store.customers(customers).await?;
        let found = found
            .into_iter()
            .map(|(id, customer)| (id, Arc::new(customer)));
        let found: HashMap<_, _> = found.collect();
        for (id, customer) in &found {
            self.keep(*id, Arc::clone(customer), read);
        }
        Ok(found)
    }

    fn keep(&self, id: CustomerId, customer: Arc<Customer>, read: Instant) {
        self.0.insert(id, Copy { customer, read });
    }

    /// The customer changed: what is older is of no use any more.
    pub fn forget(&self, changed: &Changed) {
        let old = self
            .0
            .get(&changed.customer)
            .is_some_and(|copy| copy.customer.version < changed.version);
        if old {
            self.0.invalidate(&changed.customer);
        }
    }

    /// How many customers are here.
    pub fn size(&self) -> u64 {
        self.0.run_pending_tasks();
        self.0.entry_count()
    }
}

/// About how much memory a customer takes here.
fn bytes(customer: &Customer) -> u32 {
    /// Of the cache for each entry.
    const ENTRY: usize = 320;
    let device = |device: &Device| {
        let id = device.device_id.as_ref().map_or(0, |id| id.as_str().len());
        let fcm = device.fcm.as_ref().map_or(0, |token| token.reveal().len());
        let expo = device.expo.as_ref().map_or(0, |token| token.reveal().len());
        size_of::<Device>() + id + fcm + expo
    };
    /// Of a map for each entry.
    const PAIR: usize = 16;
    let preferences = &customer.preferences;
    let types = preferences.types.keys();
    let types = types.map(|kind| PAIR + size_of::<NotificationType>() + kind.as_str().len());
    let locale = preferences
        .locale
        .as_ref()
        .map_or(0, |it| it.as_str().len());
    let off = |off: &TokenOff| {
        let id = off.device_id.as_ref().map_or(0, |id| id.as_str().len());
        let token = off.token.as_ref().map_or(0, |token| token.as_str().len());
        size_of::<TokenOff>() + id + token
    };
    let off: usize = customer.off.iter().map(off).sum();
    let devices: usize = customer.devices.iter().map(device).sum();
    let all = ENTRY + size_of::<Customer>() + types.sum::<usize>() + locale + off + devices;
    u32::try_from(all).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use push_core::changed::CustomerVersion;
    use push_core::id::RegistrationId;
    use push_core::preferences::Preferences;
    use push_core::provider::Platform;
    use push_core::token::FcmToken;

    use super::*;

    fn id(id: i64) -> CustomerId {
        CustomerId::try_from(id).unwrap()
    }

    fn customer(version: u64, devices: usize) -> Arc<Customer> {
        let token = "t".repeat(FcmToken::BYTES_MAX);
        let device = Device {
            registration: RegistrationId(1),
            device_id: None,
            platform: Platform::Android,
            fcm: Some(FcmToken::parse(&token).unwrap()),
            expo: None,
        };
        Arc::new(Customer {
            version: CustomerVersion(version),
            preferences: Preferences::default(),
            devices: vec![device; devices],
            off: Vec::new(),
        })
    }

    fn changed(customer: i64, version: u64) -> Changed {
        Changed {
            customer: id(customer),
            version: CustomerVersion(version),
        }
    }

    #[test]
    fn a_copy_is_there_until_its_time_is_over() {
        let (cache, read) = (Cache::default(), Instant::now());
        cache.keep(id(1), customer(3, 1), read);
        let known = |now| cache.known(&[id(1), id(2)], now);
        assert_eq!(known(read)[&id(1)].version, CustomerVersion(3));
        assert_eq!(known(read).len(), 1, "nobody knows customer 2");
        assert_eq!(known(read + Cache::KEEP / 2).len(), 1);
        assert!(known(read + Cache::KEEP).is_empty());
    }

    #[test]
    fn a_change_makes_older_copies_go_and_no_others() {
        let (cache, now) = (Cache::default(), Instant::now());
        cache.keep(id(1), customer(3, 1), now);
        cache.keep(id(2), customer(3, 1), now);
        cache.forget(&changed(1, 3));
        assert_eq!(
            cache.known(&[id(1)], now).len(),
            1,
            "read after this change"
        );
        cache.forget(&changed(1, 4));
        assert!(cache.known(&[id(1)], now).is_empty());
        assert_eq!(cache.known(&[id(2)], now).len(), 1);
    }

    #[test]
    fn memory_is_bounded() {
        let (cache, now) = (Cache::default(), Instant::now());
        let one = customer(1, 20);
        let most = Cache::BYTES_MAX / u64::from(bytes(&one));
        assert!(bytes(&one) as usize > 20 * FcmToken::BYTES_MAX);
        for n in 1..=3 * i64::try_from(most).unwrap() {
            cache.keep(id(n), Arc::clone(&one), now);
        }
        assert!(cache.size() <= most, "{} > {most}", cache.size());
        assert!(cache.size() > 0);
    }
}
