//! Tokens good and bad. What makes them here shares no code with what reads them.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use proptest::prelude::*;
use proptest::sample::Index;
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::json;

use super::*;

const SECRET: &str = "an-hs256-secret-of-32-bytes-at-least";
const RSA: &str = include_str!("../../../push-sim/tests/keys/throwaway.pem");
const RSA_PUBLIC: &str = include_str!("../../../push-sim/tests/keys/throwaway.pub.pem");
const RSA_OTHER: &str = include_str!("../../../push-sim/tests/keys/stranger.pem");

/// How a token is signed.
enum Signer {
    Secret(Vec<u8>),
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
}

impl Signer {
    fn secret(secret: &str) -> Self {
        Self::Secret(secret.into())
    }

    fn rsa(pem: &str) -> Self {
        let key = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).unwrap();
        Self::Rsa(RsaKeyPair::from_pkcs8(key.secret_pkcs8_der()).unwrap())
    }

    fn ec() -> Self {
        let (how, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
        let key = EcdsaKeyPair::generate_pkcs8(how, &random).unwrap();
        Self::Ec(EcdsaKeyPair::from_pkcs8(how, key.as_ref(), &random).unwrap())
    }

    fn alg(&self) -> &'static str {
        match self {
            Self::Secret(_) => "HS256",
            Self::Rsa(_) => "RS256",
            Self::Ec(_) => "ES256",
        }
    }

    fn signature(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Secret(secret) => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
                hmac::sign(&key, message).as_ref().to_vec()
            }
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)
                    .unwrap();
                signature
            }
            Self::Ec(key) => key.sign(&random, message).unwrap().as_ref().to_vec(),
        }
    }

    /// With any header.
    fn token_with(&self, header: &Value, claims: &Value) -> String {
        let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(header), part(claims));
        let signature = self.signature(message.as_bytes());
        format!("{message}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
    }

    fn token(&self, claims: &Value) -> String {
        self.token_with(&json!({"alg": self.alg(), "typ": "JWT"}), claims)
    }
}

fn ec_pem(key: &EcdsaKeyPair) -> String {
    let mut spki = vec![0x30, 0x59, 0x30, 0x13];
    spki.extend_from_slice(&[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01]);
    spki.extend_from_slice(&[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07]);
    spki.extend_from_slice(&[0x03, 0x42, 0x00]);
    spki.extend_from_slice(key.public_key().as_ref());
    pem(&spki)
}

fn pem(spki: &[u8]) -> String {
    let body = BASE64_STANDARD.encode(spki);
    format!("-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n")
}

fn jwts(secrets: &str, public: &str, wanted: &Wanted) -> Jwts {
    let secrets = JwtKeys::secrets(secrets).unwrap();
    let public = JwtKeys::public(public).unwrap();
    Jwts::new(Live::new(secrets), Live::new(public), wanted)
}

/// All three kinds, with the looker that knows them.
fn all() -> ([Signer; 3], Jwts) {
    let (secret, rsa, ec) = (Signer::secret(SECRET), Signer::rsa(RSA), Signer::ec());
    let Signer::Ec(key) = &ec else { unreachable!() };
    let public = format!("{}{}", ec_pem(key), RSA_PUBLIC);
    let jwts = jwts(SECRET, &public, &Wanted::default());
    ([secret, rsa, ec], jwts)
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_secs()).unwrap()
}

fn claims() -> Value {
    json!({"sub": "17", "exp": now() + 600})
}

fn with(name: &str, value: impl Into<Value>) -> Value {
    let mut claims = claims();
    claims[name] = value.into();
    claims
}

fn customer_17() -> Option<Bearer> {
    Some(Bearer::Customer(CustomerId::try_from(17).unwrap()))
}

#[test]
fn all_three_algorithms_are_known_and_several_keys_hold_at_once() {
    let (signers, known) = all();
    for signer in &signers {
        assert_eq!(
            known.bearer(&signer.token(&claims())),
            customer_17(),
            "{}",
            signer.alg()
        );
    }
    let other_secret = "another-secret-of-32-bytes-at-least!";
    let Signer::Ec(key) = Signer::ec() else {
        unreachable!()
    };
    let (old, new) = (Signer::secret(SECRET), Signer::secret(other_secret));
    let rotating = format!("{SECRET}\n{other_secret}\n");
    let rotating = jwts(
        &rotating,
        &format!("{RSA_PUBLIC}{}", ec_pem(&key)),
        &Wanted::default(),
    );
    for signer in [&old, &new, &Signer::rsa(RSA), &Signer::Ec(key)] {
        assert_eq!(
            rotating.bearer(&signer.token(&claims())),
            customer_17(),
            "{}",
            signer.alg()
        );
    }
}

#[test]
fn a_key_that_is_not_ours_opens_nothing() {
    let (_, known) = all();
    let others = [
        Signer::secret("another-secret-of-32-bytes-at-least!"),
        Signer::rsa(RSA_OTHER),
        Signer::ec(),
    ];
    for signer in others {
        assert_eq!(
            known.bearer(&signer.token(&claims())),
            None,
            "{}",
            signer.alg()
        );
    }
    let none = jwts("", "", &Wanted::default());
    assert_eq!(none.bearer(&Signer::secret(SECRET).token(&claims())), None);
    assert_eq!(none.bearer(&Signer::secret("").token(&claims())), None);
}

#[test]
fn the_algorithm_is_the_keys_and_not_the_tokens() {
    let (signers, known) = all();
    let claims = claims();
    for signer in &signers {
        for alg in [
            "none", "None", "NONE", "", "HS256", "HS384", "HS512", "RS256", "RS384", "PS256",
            "ES256", "ES384", "EdDSA",
        ] {
            if alg != signer.alg() {
                let token = signer.token_with(&json!({"alg": alg}), &claims);
                assert_eq!(known.bearer(&token), None, "{} as {alg:?}", signer.alg());
            }
        }
        let no_alg = signer.token_with(&json!({"typ": "JWT"}), &claims);
        assert_eq!(known.bearer(&no_alg), None);
        let signed = signer.token(&claims);
        let (message, _) = signed.rsplit_once('.').unwrap();
        for unsigned in [
            message.to_owned(),
            format!("{message}."),
            format!("{message}.AAAA"),
        ] {
            assert_eq!(known.bearer(&unsigned), None, "{unsigned}");
        }
    }
    // The public key is public: whoever signs with it as if it were a secret is nobody.
    let Signer::Rsa(key) = &signers[1] else {
        unreachable!()
    };
    let only_public = jwts("", RSA_PUBLIC, &Wanted::default());
    for spelled in [
        RSA_PUBLIC.as_bytes(),
        RSA_PUBLIC.trim_end().as_bytes(),
        key.public_key().as_ref(),
    ] {
        let token = Signer::Secret(spelled.to_vec()).token(&claims);
        assert_eq!(
            (known.bearer(&token), only_public.bearer(&token)),
            (None, None)
        );
    }
    // A key that a token brings along is none.
    let header = json!({"alg": "HS256", "jwk": {"kty": "oct", "k": "AAAA"}, "kid": "../../dev/null", "jku": "http://127.0.0.1:1/"});
    let token = Signer::secret("").token_with(&header, &claims);
    assert_eq!(known.bearer(&token), None);
}

#[test]
fn what_is_critical_is_not_understood() {
    let (signers, known) = all();
    for crit in [json!(["exp"]), json!(["b64"]), json!([]), json!("exp")] {
        let header = json!({"alg": "HS256", "crit": crit, "b64": false});
        assert_eq!(
            known.bearer(&signers[0].token_with(&header, &claims())),
            None,
            "{crit}"
        );
    }
}

#[test]
fn times_hold_give_or_take_a_minute() {
    let (signers, known) = all();
    let good = |claims: Value| known.bearer(&signers[0].token(&claims)) == customer_17();
    for (exp, expected) in [(1, true), (-50, true), (-70, false), (-1_000_000, false)] {
        assert_eq!(good(with("exp", now() + exp)), expected, "exp {exp}");
    }
    for (nbf, expected) in [(-1, true), (50, true), (70, false), (1_000_000, false)] {
        assert_eq!(good(with("nbf", now() + nbf)), expected, "nbf {nbf}");
    }
    let forever = json!({"sub": 17});
    assert!(!good(forever));
    for odd in [
        json!(null),
        json!("9999999999"),
        json!(-1),
        json!([9_999_999_999_u64]),
        json!(true),
        json!(1e300),
    ] {
        assert!(!good(with("exp", odd.clone())), "exp {odd}");
        if odd != json!(null) {
            assert!(!good(with("nbf", odd.clone())), "nbf {odd}");
        }
    }
}

#[test]
fn audience_and_issuer_are_ours() {
    let wanted = Wanted {
        audience: Some("push".to_owned()),
        issuer: Some("https://id.example".to_owned()),
        admin: None,
    };
    let strict = jwts(SECRET, "", &wanted);
    let open = jwts(SECRET, "", &Wanted::default());
    let signer = Signer::secret(SECRET);
    let of = |audience: Value, issuer: Value| {
        let mut claims = claims();
        for (name, value) in [("aud", audience), ("iss", issuer)] {
            if !value.is_null() {
                claims[name] = value;
            }
        }
        signer.token(&claims)
    };
    let ours = || (json!("push"), json!("https://id.example"));
    assert_eq!(strict.bearer(&of(ours().0, ours().1)), customer_17());
    assert_eq!(
        strict.bearer(&of(json!(["shop", "push"]), ours().1)),
        customer_17()
    );
    for audience in [
        json!(null),
        json!("shop"),
        json!("Push"),
        json!(""),
        json!([]),
        json!(["shop"]),
        json!(7),
        json!({"push": 1}),
    ] {
        assert_eq!(
            strict.bearer(&of(audience.clone(), ours().1)),
            None,
            "aud {audience}"
        );
    }
    for issuer in [
        json!(null),
        json!("https://id.example/"),
        json!(""),
        json!(7),
    ] {
        assert_eq!(
            strict.bearer(&of(ours().0, issuer.clone())),
            None,
            "iss {issuer}"
        );
    }
    // Where none is ours, one that is named is somebody else.
    assert_eq!(open.bearer(&of(json!("shop"), json!(null))), None);
    assert_eq!(
        open.bearer(&of(json!(null), json!("anybody"))),
        customer_17()
    );
}

#[test]
fn only_a_positive_integer_is_a_customer() {
    let (signers, known) = all();
    let who = |sub: Value| known.bearer(&signers[0].token(&with("sub", sub)));
    let most = CustomerId::try_from(i64::MAX).unwrap();
    assert_eq!(who(json!(17)), customer_17());
    assert_eq!(
        who(json!(i64::MAX.to_string())),
        Some(Bearer::Customer(most))
    );
    for nobody in [
        json!(null),
        json!(""),
        json!(0),
        json!("0"),
        json!(-17),
        json!("-17"),
        json!("+17"),
        json!(" 17"),
        json!("17 "),
        json!("1e1"),
        json!(17.0),
        json!(17.5),
        json!("0x11"),
        json!("\u{0661}"),
        json!(true),
        json!([17]),
        json!({"id": 17}),
        json!(9_223_372_036_854_775_808_u64),
        json!("9223372036854775808"),
        json!("auth0|17"),
    ] {
        assert_eq!(who(nobody.clone()), None, "{nobody}");
    }
    let without = signers[0].token(&json!({"exp": now() + 600}));
    assert_eq!(known.bearer(&without), None);
    let header = BASE64_URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256"}"#);
    let twice = format!(r#"{{"sub":"17","sub":"18","exp":{}}}"#, now() + 600);
    let message = format!("{header}.{}", BASE64_URL_SAFE_NO_PAD.encode(twice));
    let signature = BASE64_URL_SAFE_NO_PAD.encode(signers[0].signature(message.as_bytes()));
    assert_eq!(
        known.bearer(&format!("{message}.{signature}")),
        None,
        "sub twice"
    );
}

#[test]
fn an_admin_is_who_has_the_claim_and_a_name_that_can_be_kept() {
    let signer = Signer::secret(SECRET);
    let by = |claim: &str| {
        let admin = Some(AdminClaim::parse(claim).unwrap());
        jwts(
            SECRET,
            "",
            &Wanted {
                admin,
                ..Wanted::default()
            },
        )
    };
    let admin = |name: &str| Some(Bearer::Admin(name.into()));
    let known = by("role=push-admin");
    let who = |role: Value, sub: Value| {
        let mut claims = with("sub", sub);
        claims["role"] = role;
        known.bearer(&signer.token(&claims))
    };
    for role in [
        json!("push-admin"),
        json!("user push-admin"),
        json!(["user", "push-admin"]),
    ] {
        assert_eq!(
            who(role.clone(), json!("ann@example.org")),
            admin("jwt:ann@example.org"),
            "{role}"
        );
        assert_eq!(who(role, json!(17)), admin("jwt:17"));
    }
    for role in [
        json!(null),
        json!("push-admins"),
        json!("PUSH-ADMIN"),
        json!(["push", "admin"]),
        json!([["push-admin"]]),
        json!({"push-admin": true}),
        json!(true),
        json!("push-admin,user"),
    ] {
        assert_eq!(who(role.clone(), json!("17")), customer_17(), "{role}");
        assert_eq!(who(role, json!("ann")), None);
    }
    let longest = "x".repeat(60);
    assert_eq!(
        who(json!("push-admin"), json!(longest)),
        admin(&format!("jwt:{longest}"))
    );
    for sub in [
        json!("x".repeat(61)),
        json!(""),
        json!("a b"),
        json!("a\u{0}"),
        json!("a\nb"),
        json!("\u{e9}"),
        json!(null),
        json!(1.5),
        json!(["ann"]),
    ] {
        assert_eq!(who(json!("push-admin"), sub.clone()), None, "{sub}");
    }
    let yes = signer.token(&with("admin", true));
    assert_eq!(by("admin=true").bearer(&yes), admin("jwt:17"));
    assert_eq!(
        jwts(SECRET, "", &Wanted::default()).bearer(&yes),
        customer_17()
    );
    for wrong in ["", "role", "=x", "role="] {
        assert!(AdminClaim::parse(wrong).is_err(), "{wrong:?}");
    }
}

#[test]
fn a_large_token_is_not_looked_at() {
    let (signers, known) = all();
    let of = |bytes: usize| signers[0].token(&with("padding", "x".repeat(bytes)));
    let (small, large) = (of(2_900), of(3_000));
    assert!(small.len() <= TOKEN_BYTES_MAX && large.len() > TOKEN_BYTES_MAX);
    assert_eq!(
        (known.bearer(&small), known.bearer(&large)),
        (customer_17(), None)
    );
}

#[test]
fn keys_that_are_too_weak_or_of_another_kind_are_problems() {
    let told = JwtKeys::secrets("s3cret-that-is-too-short").unwrap_err();
    assert!(
        told.contains("24 bytes") && !told.contains("s3cret"),
        "{told}"
    );
    let told = JwtKeys::secrets(&format!("{SECRET}\ns3cret")).unwrap_err();
    assert!(told.contains("6 bytes"), "{told}");
    for (key, expected) in [
        (R1024, "RSA key of 1024 bits"),
        (R2047, "RSA key of 2047 bits"),
        (P384, "another kind"),
        (ED25519, "another kind"),
        (RSA, "nothing but public keys"),
        ("s3cret", "nothing but public keys"),
        (
            "-----BEGIN PUBLIC KEY-----\nMAA=\n-----END PUBLIC KEY-----",
            "cannot be read",
        ),
        (
            "-----BEGIN PUBLIC KEY-----\n*\n-----END PUBLIC KEY-----",
            "PEM",
        ),
        ("-----BEGIN PUBLIC KEY-----\nMAA=", "PEM"),
    ] {
        let told = JwtKeys::public(key).unwrap_err();
        assert!(
            told.contains(expected) && !told.contains("s3cret"),
            "{told}"
        );
    }
    let mixed = format!("{RSA_PUBLIC}{RSA}");
    assert!(
        JwtKeys::public(&mixed)
            .unwrap_err()
            .contains("nothing but public keys")
    );
    assert!(
        JwtKeys::public(&RSA_PUBLIC.repeat(9))
            .unwrap_err()
            .contains("more than 8")
    );
    let escaped = RSA_PUBLIC.replace('\n', "\\n");
    assert!(!JwtKeys::public(&escaped).unwrap().is_empty());
    assert!(JwtKeys::public("").unwrap().is_empty() && JwtKeys::secrets("").unwrap().is_empty());
    let shown = format!("{:?}", JwtKeys::secrets(SECRET).unwrap());
    assert!(
        !shown.contains("hs256-secret") && !shown.contains("104"),
        "{shown}"
    );
}

proptest! {
    #[test]
    fn a_token_that_was_changed_is_never_good(
        which in 0..3_usize, at in any::<Index>(), byte in any::<char>(), cut in any::<bool>(),
    ) {
        thread_local! {
            static KNOWN: ([Signer; 3], Jwts) = all();
        }
        KNOWN.with(|(signers, known)| {
            let token = signers[which].token(&claims());
            let at = at.index(token.len());
            let (before, after) = token.split_at(at);
            let changed = if cut {
                format!("{before}{}", &after[1..])
            } else {
                format!("{before}{byte}{}", &after[1..])
            };
            if changed != token {
                prop_assert_eq!(known.bearer(&changed), None);
            }
            prop_assert_eq!(known.bearer(before), None);
            Ok(())
        })?;
    }

    #[test]
    fn nothing_that_is_sent_makes_it_stumble(text in any::<String>(), parts in proptest::array::uniform3(".{0,40}")) {
        let known = jwts(SECRET, RSA_PUBLIC, &Wanted::default());
        let encoded = parts.clone().map(|part| BASE64_URL_SAFE_NO_PAD.encode(part));
        for token in [text, parts.join("."), encoded.join(".")] {
            prop_assert_eq!(known.bearer(&token), None);
        }
    }

    #[test]
    fn no_public_key_makes_it_stumble(der in proptest::collection::vec(any::<u8>(), 0..80), cut in any::<Index>(), byte in any::<u8>()) {
        let _ = JwtKeys::public(&pem(&der));
        let mut real = BASE64_STANDARD.decode(RSA_PUBLIC.lines().filter(|line| !line.starts_with('-')).collect::<String>()).unwrap();
        let at = cut.index(real.len());
        real[at] = byte;
        let _ = JwtKeys::public(&pem(&real));
        real.truncate(at);
        let _ = JwtKeys::public(&pem(&real));
    }
}

const R1024: &str = "\
-----BEGIN PUBLIC KEY-----\n\
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDGU05ZuM7fOfLoodCLtvt+Sh+B\n\
XQem/rNUB4/T781Um7dnsCLTuBF4azWFsrYCyHYhH+iRbVGBKuP4xGH//0wUHQmu\n\
cqGIEj507mmRttmgNWcBHZPNTPrNr9Wq8lLtFvoZElBEXpxKDAwAIK0O8B/psM1l\n\
PvJ3/5v4YM13JWJi1wIDAQAB\n\
-----END PUBLIC KEY-----\n";
const R2047: &str = "\
-----BEGIN PUBLIC KEY-----\n\
MIIBITANBgkqhkiG9w0BAQEFAAOCAQ4AMIIBCQKCAQBanTWK8COd9tI+V0FxSB2I\n\
Am/8Fpip5oktkt+MrvEHMkVSOY2peT+IFXju5rao/JBS3AZRVpKYK+sueldoaoRV\n\
E2Oz42MK4w4dtcNQJP8Y1m/dlLcKLdI57SgT6+JG/xWwKVjk251kt9N05KdbVJxy\n\
i/A17/wCkP2c4yhKmDfOC/hsuAbgPHGKtYPUn9v/Xy44s4jbuhC7BFPT2AiZmuMr\n\
NlJT9NZSYq/AOcNlouO13O1R1vBf1435qirQqthtl/+kHvlb1pqLC2CdArQlP69r\n\
xSx/79cdG9kevkV3ZDIbjwrZA3Jy4MlY8X173xVoRodQF1PPVSK8vIgGvfcEZnh3\n\
AgMBAAE=\n\
-----END PUBLIC KEY-----\n";
const P384: &str = "\
-----BEGIN PUBLIC KEY-----\n\
MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAE4jTd6X+DAtZYtcYZ5sKMPvbaFLwhfPWn\n\
WVfoGNtL0rwebG8aXv3jnofOCNWAt4CyHsXwAyTIbKsiE+SUEGTsSp7gxj+Xpbn0\n\
uFmVuE0Jv6XSHic3jPmMOa5sBTLYIEYs\n\
-----END PUBLIC KEY-----\n";
const ED25519: &str = "\
-----BEGIN PUBLIC KEY-----\n\
MCowBQYDK2VwAyEAu/JWfEi16wSTX7ksrWzIugHfFLTU/KEMoLdjMtrMTU8=\n\
-----END PUBLIC KEY-----\n";
