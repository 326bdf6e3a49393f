//! What must not go out in a push: payment card numbers and secrets. A push is shown on a locked screen, passes
//! through companies that are not ours, and stays in the history.
//!
//! A guard, not a proof: it finds what a mistake of a caller looks like, and lets pass what ids, phone numbers and times
//! look like.

/// A payment card number has so many digits (ISO/IEC 7812).
const DIGITS: std::ops::RangeInclusive<usize> = 13..=19;

/// What the issuers' numbers begin with, and how long they are. By these and the check digit, of a hundred random
/// numbers of 16 digits about four would be taken for a card.
const ISSUERS: &[(std::ops::RangeInclusive<u32>, &[usize])] = &[
    // Visa.
    (4000..=4999, &[13, 16, 19]),
    // Mastercard.
    (5100..=5599, &[16]),
    (2221..=2720, &[16]),
    // American Express.
    (3400..=3499, &[15]),
    (3700..=3799, &[15]),
    // Diners Club.
    (3000..=3059, &[14, 16, 17, 18, 19]),
    (3095..=3095, &[14, 16, 17, 18, 19]),
    (3600..=3699, &[14, 16, 17, 18, 19]),
    (3800..=3999, &[14, 16, 17, 18, 19]),
    // JCB.
    (3528..=3589, &[16, 17, 18, 19]),
    // Discover, RuPay and UnionPay.
    (6000..=6099, &[16, 17, 18, 19]),
    (6200..=6299, &[16, 17, 18, 19]),
    (6440..=6599, &[16, 17, 18, 19]),
    (8100..=8299, &[16, 17, 18, 19]),
    // Maestro.
    (5000..=5099, &[13, 14, 15, 16, 17, 18, 19]),
    (5600..=5899, &[13, 14, 15, 16, 17, 18, 19]),
    (6304..=6304, &[13, 14, 15, 16, 17, 18, 19]),
    (6390..=6399, &[13, 14, 15, 16, 17, 18, 19]),
    (6700..=6799, &[13, 14, 15, 16, 17, 18, 19]),
    // Mir.
    (2200..=2204, &[16, 17, 18, 19]),
];

/// Scripts whose digits people write: where their zero is.
const ZEROS: [char; 5] = ['0', '\u{660}', '\u{6F0}', '\u{966}', '\u{FF10}'];

/// Whether `text` holds a payment card number, written in one piece or in groups with one kind of space or dash
/// between them. What is glued to letters, or a part of a longer number, is none; nor is what `+` makes a phone number.
#[must_use]
pub fn has_card_number(text: &str) -> bool {
    if !has_enough_digits(text) {
        return false;
    }
    let groups = groups(text);
    (0..groups.len()).any(|first| starts_card_number(&groups[first..]))
}

/// Few texts have so many: most need no closer look.
fn has_enough_digits(text: &str) -> bool {
    let digits = text.chars().filter_map(digit);
    text.len() >= *DIGITS.start() && digits.take(*DIGITS.start()).count() == *DIGITS.start()
}

fn starts_card_number(groups: &[Group]) -> bool {
    let Some((first, rest)) = groups.split_first() else {
        return false;
    };
    if first.is_phone || first.is_glued {
        return false;
    }
    let mut digits = first.digits.clone();
    let mut separator = None;
    let mut rest = rest.iter();
    loop {
        if is_card_number(&digits) {
            return true;
        }
        let Some(next) = rest.next() else {
            return false;
        };
        let fits = match (separator, next.after) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(usual), Some(this)) => usual == this,
        };
        if !fits || next.is_glued || digits.len() > *DIGITS.end() {
            return false;
        }
        separator = next.after;
        digits.extend(&next.digits);
    }
}

fn is_card_number(digits: &[u32]) -> bool {
    let begins = digits.iter().take(4).fold(0, |sum, digit| sum * 10 + digit);
    let is_issued = |(range, lengths): &(std::ops::RangeInclusive<u32>, &[usize])| {
        range.contains(&begins) && lengths.contains(&digits.len())
    };
    DIGITS.contains(&digits.len()) && ISSUERS.iter().any(is_issued) && passes_luhn(digits)
}

/// The check digit of card numbers (ISO/IEC 7812-1, annex B).
fn passes_luhn(digits: &[u32]) -> bool {
    let doubled = |digit: u32| digit * 2 / 10 + digit * 2 % 10;
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| {
            if place % 2 == 1 {
                doubled(*digit)
            } else {
                *digit
            }
        })
        .sum();
    sum.is_multiple_of(10)
}

/// Digits without anything between them.
#[derive(Debug, Default)]
struct Group {
    digits: Vec<u32>,
    /// The one character that separates it from the group before.
    after: Option<char>,
    /// `+` stands before it.
    is_phone: bool,
    /// It is a part of a name, or of a number with a fraction.
    is_glued: bool,
}

fn groups(text: &str) -> Vec<Group> {
    let chars: Vec<char> = text.chars().collect();
    let mut groups: Vec<Group> = Vec::new();
    // Where the last group ended.
    let mut ended = None;
    let mut at = 0;
    while at < chars.len() {
        let digits: Vec<u32> = chars[at..].iter().map_while(|c| digit(*c)).collect();
        if digits.is_empty() {
            at += 1;
            continue;
        }
        let end = at + digits.len();
        let before = at.checked_sub(1).map(|before| chars[before]);
        let separates = ended.is_some_and(|ended| ended + 1 == at);
        groups.push(Group {
            digits,
            after: before.filter(|c| separates && is_separator(*c)),
            is_phone: before == Some('+'),
            is_glued: before.is_some_and(is_letter)
                || chars.get(end).copied().is_some_and(is_letter)
                || separates && before.is_some_and(is_point)
                || has_fraction(&chars[end..]),
        });
        ended = Some(end);
        at = end;
    }
    groups
}

fn digit(c: char) -> Option<u32> {
    if c.is_ascii() {
        return c.to_digit(10);
    }
    let of = |zero: &char| u32::from(c).checked_sub(u32::from(*zero));
    ZEROS.iter().filter_map(of).find(|value| *value < 10)
}

fn is_letter(c: char) -> bool {
    c == '_' || c.is_alphabetic()
}

fn is_point(c: char) -> bool {
    matches!(c, '.' | ',')
}

fn has_fraction(rest: &[char]) -> bool {
    matches!(rest, [point, next, ..] if is_point(*point) && digit(*next).is_some())
}

fn is_separator(c: char) -> bool {
    c.is_whitespace() || matches!(c, '-' | '\u{2010}'..='\u{2015}' | '\u{2212}')
}

/// A key whose last word is one of these names a secret.
const SECRETS: &[&str] = &[
    "password",
    "passwd",
    "pwd",
    "passphrase",
    "passcode",
    "otp",
    "totp",
    "cvv",
    "cvc",
    "secret",
    "token",
    "jwt",
    "apikey",
    "authorization",
    "credential",
    "credentials",
    "accesstoken",
    "refreshtoken",
    "authtoken",
    "idtoken",
    "fcmtoken",
    "pushtoken",
    "clientsecret",
    "cardnumber",
];
/// One at the very end only: by `pinCode` many mean a postal code.
const PIN: &str = "pin";
/// The same for two words.
const PAIRS: &[(&str, &str)] = &[
    ("api", "key"),
    ("access", "key"),
    ("private", "key"),
    ("encryption", "key"),
    ("card", "number"),
    ("security", "code"),
    ("one", "time"),
];
/// Words that may follow without changing what it is: `otpCode` is an OTP, `tokenCount` is no token.
const TAILS: &[&str] = &["value", "code", "hash", "key", "header", "text", "string"];

/// Whether a key of `data` says that its value is a secret: `password`, `accessToken`, `card_cvv2`, `X-API-Key`; not
/// `trackId`, `tokenCount`, `pinCode`, `passwordChanged`.
#[must_use]
pub fn names_secret(key: &str) -> bool {
    let words = words(key);
    let is_tail = |word: &&String| TAILS.contains(&word.as_str());
    let tails = words.iter().rev().take_while(is_tail).count();
    let ends_in_pin = words.last().is_some_and(|last| last == PIN);
    ends_in_pin || (0..=tails).any(|tails| ends_in_secret(&words[..words.len() - tails]))
}

fn ends_in_secret(words: &[String]) -> bool {
    let Some((last, before)) = words.split_last() else {
        return false;
    };
    let is_pair = |(first, second): &(&str, &str)| {
        last == second && before.last().is_some_and(|before| before == first)
    };
    SECRETS.contains(&last.as_str()) || PAIRS.iter().any(is_pair)
}

/// The words of `camelCase`, `snake_case`, `kebab-case` and `ACRONYMCase`, in lower case; digits separate, too.
fn words(key: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut before: Option<char> = None;
    let mut rest = key.chars();
    while let Some(c) = rest.next() {
        let next = rest.clone().next();
        let begins = c.is_uppercase()
            && (before.is_some_and(char::is_lowercase) || next.is_some_and(char::is_lowercase));
        if begins || !c.is_alphabetic() {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut().filter(|_| c.is_alphabetic()) {
            word.extend(c.to_lowercase());
        }
        before = Some(c);
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Numbers that the networks publish for tests.
    const CARDS: [&str; 14] = [
        "4111111111111111",
        "4012888888881881",
        "4222222222222",
        "4000000000000000006",
        "5555555555554444",
        "2223003122003222",
        "378282246310005",
        "371449635398431",
        "30569309025904",
        "3530111333300000",
        "6011111111111117",
        "6200000000000005",
        "6759649826438453",
        "2200000000000004",
    ];

    #[test]
    fn cards_are_found_however_they_are_written() {
        for card in CARDS {
            for text in [
                card.to_owned(),
                format!("Your card {card} was charged."),
                format!("({card})"),
                format!("Karte:{card};"),
                format!("{card}-a"),
                format!("\u{661}2 {card}, and more"),
            ] {
                assert!(has_card_number(&text), "{text}");
            }
        }
        for text in [
            "4111 1111 1111 1111",
            "4111-1111-1111-1111",
            "4111\u{a0}1111\u{a0}1111\u{a0}1111",
            "4111\u{2011}1111\u{2011}1111\u{2011}1111",
            "3782 822463 10005",
            "booking 456 4111 1111 1111 1111 of 2026",
            "on 2026-11-28 4111 1111 1111 1111 was charged",
            "\u{FF14}\u{FF11}11 1111 1111 1111",
            "4111 1111 1111 1111\n4111",
        ] {
            assert!(has_card_number(text), "{text}");
        }
    }

    #[test]
    fn ids_phone_numbers_and_times_pass() {
        for text in [
            "",
            "TRK123",
            "BID20261128123456789",
            "TRK4111111111111111",
            "x_4111111111111111",
            // In a longer number.
            "94111111111111111",
            "41111111111111111111",
            "4111111111111111.5",
            "12.4111111111111111",
            // The check digit is wrong, or nobody issues it.
            "4111111111111112",
            "9111111111111111",
            "1234567890123456",
            // Phone numbers.
            "+4915123456789",
            "+49 1512 3456789",
            "+91 98765 43210",
            "555-123-4567 555-987-6543",
            // Times, and ids made of them.
            "2026-11-28T12:34:56.789Z",
            "2026-11-28 12:34:56",
            "1764333296789",
            "1764333296789012",
            "20261128123456",
            "0198c5a1-7c3e-7d0a-b7a5-3f6f4f0e9c11",
            "41.411111 2.1734",
        ] {
            assert!(!has_card_number(text), "{text}");
        }
    }

    #[test]
    fn keys_that_name_a_secret_are_told_from_those_that_mention_one() {
        for key in [
            "password",
            "Password",
            "PASSWORD",
            "userPassword",
            "new_password",
            "passwd",
            "pwd",
            "otp",
            "OTP",
            "loginOtp",
            "otpCode",
            "otp_value",
            "cvv",
            "cvv2",
            "cardCVC",
            "pin",
            "card_pin",
            "secret",
            "clientSecret",
            "secretKey",
            "token",
            "accessToken",
            "access_token",
            "access-token",
            "FCMToken",
            "idtoken",
            "apiKey",
            "api_key",
            "API-KEY",
            "XApiKey",
            "apikey",
            "authorization",
            "Authorization",
            "authorization_header",
            "privateKey",
            "cardNumber",
            "card.number",
            "securityCode",
            "credentials",
            "password1",
            "token_2",
        ] {
            assert!(names_secret(key), "{key}");
        }
        for key in [
            "",
            "_",
            "1",
            "type",
            "trackId",
            "bookingId",
            "techName",
            "priority",
            "status",
            "tokenCount",
            "tokens",
            "passwordChanged",
            "pinCode",
            "pincode",
            "pinned",
            "spin",
            "opinion",
            "secretary",
            "monkey",
            "key",
            "keyboard",
            "code",
            "couponCode",
            "header",
            "securityLevel",
            "otpSent",
            "oneTimeOffer",
            "cvvRequired",
            "author",
            "tokenized",
            "number",
            "screen",
            "deepLink",
            "url",
            "url_key",
        ] {
            assert!(!names_secret(key), "{key}");
        }
    }

    /// A number of an issuer with the right check digit.
    fn card() -> impl Strategy<Value = Vec<u32>> {
        let issuer = proptest::sample::select(ISSUERS);
        let begun = issuer.prop_flat_map(|(range, lengths)| {
            (range.clone(), proptest::sample::select(lengths.to_vec()))
        });
        let digits = begun.prop_flat_map(|(begins, length)| {
            let rest = proptest::collection::vec(0_u32..10, length - 5);
            (Just(begins), rest)
        });
        digits.prop_map(|(begins, rest)| {
            let mut digits = vec![
                begins / 1000,
                begins / 100 % 10,
                begins / 10 % 10,
                begins % 10,
            ];
            digits.extend(rest);
            let check = (0..10).find(|check| {
                let mut whole = digits.clone();
                whole.push(*check);
                passes_luhn(&whole)
            });
            digits.extend(check);
            digits
        })
    }

    fn written(digits: &[u32]) -> String {
        digits.iter().map(u32::to_string).collect()
    }

    proptest! {
        #[test]
        fn every_card_is_found_in_any_grouping(
            card in card(), cuts in proptest::collection::vec(any::<bool>(), 19),
            separator in proptest::sample::select(vec![' ', '-', '\u{a0}', '\u{2013}']),
        ) {
            let mut text = String::new();
            for (digit, cut) in card.iter().zip(cuts) {
                if cut && !text.is_empty() {
                    text.push(separator);
                }
                text.push_str(&digit.to_string());
            }
            prop_assert!(has_card_number(&text), "{text}");
            let sentence = format!("Card {text}!");
            prop_assert!(has_card_number(&sentence));
        }

        #[test]
        fn what_fails_the_check_digit_passes(card in card(), wrong in 1_u32..10) {
            let mut digits = card;
            if let Some(last) = digits.last_mut() {
                *last = (*last + wrong) % 10;
            }
            prop_assert!(!has_card_number(&written(&digits)));
        }

        #[test]
        fn one_wrong_digit_is_noticed(card in card(), place in 0_usize..19, wrong in 1_u32..10) {
            let mut digits = card;
            let place = place % digits.len();
            digits[place] = (digits[place] + wrong) % 10;
            prop_assert!(!passes_luhn(&digits));
        }

        #[test]
        fn no_text_is_too_strange(text in any::<String>()) {
            let _ = (has_card_number(&text), names_secret(&text));
        }
    }
}
