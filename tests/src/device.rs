//! Devices with made-up tokens in the providers' shapes.

use serde_json::{Value, json};
use uuid::Uuid;

/// `prefix` and something that is nowhere else.
pub(crate) fn unique(prefix: &str) -> String {
    format!("{prefix}{}", Uuid::new_v4().simple())
}

/// What an app registers.
#[derive(Clone, Debug)]
pub struct Device {
    /// Its name in the simulator, and its `deviceId`.
    pub name: String,
    /// `android`, `ios` or `web`.
    pub platform: &'static str,
    /// Its FCM registration token.
    pub fcm: Option<String>,
    /// Its Expo push token.
    pub expo: Option<String>,
    /// Whether it names itself when it registers.
    pub with_device_id: bool,
}

impl Device {
    fn new(name: &str, platform: &'static str) -> Self {
        Self {
            name: name.to_owned(),
            platform,
            fcm: None,
            expo: None,
            with_device_id: true,
        }
    }

    /// An Android phone with the Firebase SDK.
    #[must_use]
    pub fn android_fcm(name: &str) -> Self {
        Self {
            fcm: Some(Self::fresh_fcm()),
            ..Self::new(name, "android")
        }
    }

    /// An iPhone with an Expo app.
    #[must_use]
    pub fn ios_expo(name: &str) -> Self {
        Self {
            expo: Some(Self::fresh_expo()),
            ..Self::new(name, "ios")
        }
    }

    /// An Android phone that has both tokens.
    #[must_use]
    pub fn android_both(name: &str) -> Self {
        Self {
            fcm: Some(Self::fresh_fcm()),
            expo: Some(Self::fresh_expo()),
            ..Self::new(name, "android")
        }
    }

    /// One that sends no `deviceId`.
    #[must_use]
    pub fn without_device_id(mut self) -> Self {
        self.with_device_id = false;
        self
    }

    /// A new FCM registration token.
    #[must_use]
    pub fn fresh_fcm() -> String {
        let (first, rest) = (Uuid::new_v4().simple(), Uuid::new_v4().simple());
        format!("c{:.21}:APA91b{rest}{rest}{rest}", first.to_string())
    }

    /// A new Expo push token.
    #[must_use]
    pub fn fresh_expo() -> String {
        format!(
            "ExponentPushToken[{:.22}]",
            Uuid::new_v4().simple().to_string()
        )
    }

    /// The body of `register` and `unregister`.
    #[must_use]
    pub fn registration(&self, customer: i64) -> Value {
        let mut body = json!({"userType": "customer", "id": customer, "platform": self.platform});
        if let Some(token) = &self.fcm {
            body["fcmToken"] = token.as_str().into();
        }
        if let Some(token) = &self.expo {
            body["expoPushToken"] = token.as_str().into();
        }
        if self.with_device_id {
            body["deviceId"] = self.name.as_str().into();
        }
        body
    }

    pub(crate) fn tokens(&self) -> Vec<&str> {
        [&self.fcm, &self.expo]
            .into_iter()
            .filter_map(|token| token.as_deref())
            .collect()
    }
}

/// A device that is registered, and known to the simulator by its name.
#[derive(Clone, Debug)]
pub struct Phone {
    /// As it registered.
    pub device: Device,
}

impl Phone {
    /// Its FCM token.
    ///
    /// # Panics
    /// When it has none.
    #[must_use]
    pub fn fcm(&self) -> &str {
        self.device.fcm.as_deref().expect("an FCM token")
    }

    /// Its Expo token.
    ///
    /// # Panics
    /// When it has none.
    #[must_use]
    pub fn expo(&self) -> &str {
        self.device.expo.as_deref().expect("an Expo token")
    }
}
