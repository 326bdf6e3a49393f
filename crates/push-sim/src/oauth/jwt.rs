//! The assertion: a JWT signed with the service account's key.

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;

use super::Refused;

/// JWTs have no padding (RFC 7515), but gcp_auth sends it and Google accepts that.
const BASE64URL: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Scopes that suffice for `messages:send` (FCM v1 discovery document).
const SCOPES: [&str; 2] = [
    "https://www.googleapis.com/auth/firebase.messaging",
    "https://www.googleapis.com/auth/cloud-platform",
];
const LIFETIME_SECONDS_MAX: u64 = 3600;
/// Clocks may differ by this much.
const SKEW_SECONDS: u64 = 300;

/// Google's words, as captured in `fcm/errors.json`.
pub(super) const BAD_SIGNATURE: &str = "Invalid JWT Signature.";
const BAD_TIMES: &str = "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable \
                         timeframe. Check your iat and exp values in the JWT claim.";

/// A JWT taken apart, not yet believed.
#[derive(Debug)]
pub(super) struct Jwt<'a> {
    pub(super) claims: Claims,
    /// What the signature is over.
    pub(super) signed: &'a str,
    pub(super) signature: Vec<u8>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Claims {
    pub(super) iss: String,
    #[serde(default)]
    scope: String,
    aud: String,
    iat: u64,
    exp: u64,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
}

pub(super) fn parse(assertion: &str) -> Result<Jwt<'_>, Refused> {
    let malformed = || Refused::grant("Invalid JWT: malformed assertion.");
    let (signed, signature) = assertion.rsplit_once('.').ok_or_else(malformed)?;
    let (header, claims) = signed.split_once('.').ok_or_else(malformed)?;
    let decode = |part: &str| BASE64URL.decode(part).map_err(|_| malformed());
    let header: Header = serde_json::from_slice(&decode(header)?).map_err(|_| malformed())?;
    if header.alg != "RS256" {
        return Err(Refused::grant(format!(
            "Invalid JWT: algorithm {} is not RS256.",
            header.alg
        )));
    }
    let claims = serde_json::from_slice(&decode(claims)?).map_err(|_| malformed())?;
    let signature = decode(signature)?;
    if signature.is_empty() {
        return Err(Refused::grant(BAD_SIGNATURE));
    }
    Ok(Jwt {
        claims,
        signed,
        signature,
    })
}

impl Jwt<'_> {
    /// Audience (if we know by which host we were called), times, issuer and scope.
    pub(super) fn check_claims(&self, host: Option<&str>, now: u64) -> Result<(), Refused> {
        let claims = &self.claims;
        if claims.iss.is_empty() {
            return Err(Refused::grant("Invalid grant: account not found"));
        }
        if let Some(host) = host {
            // Behind a TLS proxy the client sees https.
            let here = [
                format!("http://{host}/token"),
                format!("https://{host}/token"),
            ];
            if !here.contains(&claims.aud) {
                return Err(Refused::grant(format!(
                    "Invalid JWT: Failed audience check. The right audience is {}",
                    here[0]
                )));
            }
        }
        let short_lived =
            claims.exp > claims.iat && claims.exp - claims.iat <= LIFETIME_SECONDS_MAX;
        let timely = claims.iat <= now + SKEW_SECONDS && claims.exp + SKEW_SECONDS > now;
        if !short_lived || !timely {
            return Err(Refused::grant(BAD_TIMES));
        }
        if !claims.scope.split(' ').any(|scope| SCOPES.contains(&scope)) {
            return Err(Refused::new(
                "invalid_scope",
                "Invalid OAuth scope or ID token audience provided.",
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn assertion(alg: &str, claims: &Value, padded: bool) -> String {
        let encode = |text: String| {
            if padded {
                base64::engine::general_purpose::URL_SAFE.encode(text)
            } else {
                base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text)
            }
        };
        let header = encode(json!({"alg": alg, "typ": "JWT"}).to_string());
        let claims = encode(claims.to_string());
        format!("{header}.{claims}.{}", encode("signature".to_owned()))
    }

    fn claims() -> Value {
        json!({
            "iss": "a@b", "scope": SCOPES[0], "aud": "http://here:1/token",
            "iat": 10_000, "exp": 13_600,
        })
    }

    fn judged(claims: &Value) -> Result<(), String> {
        let assertion = assertion("RS256", claims, false);
        parse(&assertion)
            .and_then(|jwt| jwt.check_claims(Some("here:1"), 10_001))
            .map_err(|refused| refused.description)
    }

    #[test]
    fn padding_does_not_matter() {
        for padded in [true, false] {
            let assertion = assertion("RS256", &claims(), padded);
            assert_eq!(parse(&assertion).unwrap().claims.iss, "a@b");
        }
    }

    #[test]
    fn only_rs256_and_only_jwts() {
        assert!(parse(&assertion("HS256", &claims(), false)).is_err());
        assert!(parse(&assertion("none", &claims(), false)).is_err());
        for text in ["", "a", "a.b", "a.b.c", "e30.e30.e30"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn claims_are_checked_one_by_one() {
        assert_eq!(judged(&claims()), Ok(()));
        let table = [
            (
                "aud",
                json!("https://oauth2.googleapis.com/token"),
                "audience",
            ),
            ("exp", json!(13_601), "short-lived"),
            ("exp", json!(9_000), "short-lived"),
            ("iat", json!(10_302), "timeframe"),
            ("iss", json!(""), "account not found"),
            (
                "scope",
                json!("https://www.googleapis.com/auth/userinfo.email"),
                "scope",
            ),
        ];
        for (claim, value, expected) in table {
            let mut claims = claims();
            claims[claim] = value;
            let error = judged(&claims).unwrap_err();
            assert!(error.contains(expected), "{claim}: {error}");
        }
    }
}
