//! Which providers the worker talks to in `cargo xtask run`: the simulator, or the real ones whose credentials are in
//! the environment.

use crate::demo::Phones;

/// A throwaway key: see `assets/README.md`.
const DEMO_KEY: &str = include_str!("../assets/demo-firebase-key.pem");

/// Any of these means: the real FCM.
const FIREBASE: [&str; 4] = [
    "FIREBASE_PRIVATE_KEY",
    "FIREBASE_PRIVATE_KEY_FILE",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "GOOGLE_APPLICATION_CREDENTIALS_FILE",
];

/// Any of these means: the real Expo.
const EXPO: [&str; 2] = ["EXPO_ACCESS_TOKEN", "EXPO_ACCESS_TOKEN_FILE"];

/// The variable that makes a provider the real one, for each of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Real {
    /// FCM
    pub fcm: Option<&'static str>,
    /// Expo
    pub expo: Option<&'static str>,
}

impl Real {
    /// As the environment says.
    pub fn from_env() -> Self {
        Self::from(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
    }

    fn from(is_set: impl Fn(&str) -> bool) -> Self {
        Self {
            fcm: FIREBASE.into_iter().find(|name| is_set(name)),
            expo: EXPO.into_iter().find(|name| is_set(name)),
        }
    }

    /// The worker's settings for the providers that the simulator plays.
    pub fn settings(self, simulator: &str) -> Vec<(&'static str, String)> {
        let mut settings = Vec::new();
        if self.fcm.is_none() {
            settings.extend([
                ("FIREBASE_PROJECT_ID", "demo-project".to_owned()),
                ("FIREBASE_PRIVATE_KEY", DEMO_KEY.to_owned()),
                (
                    "FIREBASE_CLIENT_EMAIL",
                    "demo@demo-project.iam.gserviceaccount.com".to_owned(),
                ),
                ("FIREBASE_TOKEN_URI", format!("{simulator}/token")),
                ("FCM_BASE_URL", simulator.to_owned()),
            ]);
        }
        if self.expo.is_none() {
            settings.push(("EXPO_BASE_URL", simulator.to_owned()));
        }
        settings
    }

    /// Is the simulator not needed?
    pub fn is_all(self) -> bool {
        self.fcm.is_some() && self.expo.is_some()
    }

    /// Does the simulator play both?
    pub fn is_none(self) -> bool {
        self.fcm.is_none() && self.expo.is_none()
    }

    /// What is to be said of real providers for which no phone was named.
    pub fn unnamed_phones(self, phones: &Phones) -> Vec<String> {
        let of = |provider, variable: Option<_>, phone: &Option<String>, option| {
            (variable.is_some() && phone.is_none()).then(|| {
                format!(
                    "{provider} is the real one, so the made-up phone was left out: to see the example arrive on one of \
                     yours, pass {option} with its token"
                )
            })
        };
        let fcm = of("FCM", self.fcm, &phones.fcm, "--fcm-token");
        let expo = of("Expo", self.expo, &phones.expo, "--expo-token");
        fcm.into_iter().chain(expo).collect()
    }

    /// One line for the user.
    pub fn describe(self) -> String {
        let who = |variable: Option<&str>| {
            variable.map_or("simulator".to_owned(), |name| {
                format!("the real one ({name} is set)")
            })
        };
        format!("FCM: {}, Expo: {}", who(self.fcm), who(self.expo))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_credentials_the_simulator_plays_both() {
        let settings = Real::from(|_| false).settings("http://127.0.0.1:8090");
        let url = |name| {
            settings
                .iter()
                .find(|(n, _)| *n == name)
                .map(|(_, v)| v.as_str())
        };
        assert_eq!(
            url("FIREBASE_TOKEN_URI"),
            Some("http://127.0.0.1:8090/token")
        );
        assert_eq!(url("FCM_BASE_URL"), Some("http://127.0.0.1:8090"));
        assert_eq!(url("EXPO_BASE_URL"), Some("http://127.0.0.1:8090"));
    }

    #[test]
    fn real_credentials_of_one_provider_leave_the_other_simulated() {
        let real = Real::from(|name| name == "GOOGLE_APPLICATION_CREDENTIALS");
        let settings = real.settings("http://sim");
        assert_eq!(settings, [("EXPO_BASE_URL", "http://sim".to_owned())]);
        let none = Phones {
            fcm: None,
            expo: None,
        };
        let [what] = &real.unnamed_phones(&none)[..] else {
            panic!("only FCM is real")
        };
        assert!(what.contains("pass --fcm-token"), "{what}");
        assert_eq!(
            real.describe(),
            "FCM: the real one (GOOGLE_APPLICATION_CREDENTIALS is set), Expo: simulator"
        );
    }
}
