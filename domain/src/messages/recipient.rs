//! Whom a message goes to: one phone number, written in whatever way people write them.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

/// ITU-T E.164: at most fifteen digits, country code included.
const MOST_DIGITS: usize = 15;
/// The shortest international numbers in use (such as Niue's, +683 4xxx) have seven.
const LEAST_DIGITS: usize = 7;
/// Longer texts are not read at all.
const LONGEST_TEXT: usize = 64;

/// A phone number in E.164: 7 to 15 digits that begin with a country code. Stored without its plus, shown with it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Recipient(String);

impl Recipient {
    /// Reads a number: with or without plus or `00` before the country code, with spaces, dots, hyphens, slashes and
    /// parentheses, or as a WhatsApp id of a person (`60123456789@c.us`, `…@s.whatsapp.net`).
    ///
    /// # Errors
    /// A sentence that says what is wrong with the number.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.is_empty() {
            return Err("Write the number, such as +60123456789.".into());
        }
        if text.len() > LONGEST_TEXT {
            return Err(format!("A phone number has at most {MOST_DIGITS} digits; this text is much longer."));
        }
        let number = match text.split_once('@') {
            None => text,
            Some((number, "c.us" | "s.whatsapp.net")) => number,
            Some((_, "g.us")) => return Err("This is a group. Messages go to one person's number.".into()),
            Some((_, "newsletter")) => return Err("This is a channel. Messages go to one person's number.".into()),
            Some((_, "lid")) => {
                return Err("This is a hidden id of WhatsApp, not a number. Write the phone number.".into());
            }
            Some(_) => return Err("This is no phone number: write it like +60123456789.".into()),
        };
        let mut digits = String::with_capacity(number.len());
        let mut plus = false;
        for (at, c) in number.char_indices() {
            match c {
                '0'..='9' => digits.push(c),
                '+' if at == 0 => plus = true,
                '+' => return Err("A plus stands only before the country code.".into()),
                ' ' | '\u{a0}' | '\u{202f}' | '.' | '-' | '\u{2010}' | '\u{2011}' | '\u{2013}' | '(' | ')' | '/' => {}
                c if c.is_alphabetic() => return Err("A phone number has no letters.".into()),
                _ => return Err("This is no phone number: write it like +60123456789.".into()),
            }
        }
        // The international call prefix of most countries (ITU-T E.123 recommends the plus instead).
        if !plus && digits.starts_with("00") {
            digits.drain(..2);
        }
        if digits.is_empty() {
            return Err("Write the number, such as +60123456789.".into());
        }
        if digits.starts_with('0') {
            return Err("The number must begin with the country code: +60123456789 instead of 0123456789.".into());
        }
        match digits.len() {
            ..LEAST_DIGITS => Err(format!(
                "A phone number has at least {LEAST_DIGITS} digits with its country code; this has {}.",
                digits.len()
            )),
            LEAST_DIGITS..=MOST_DIGITS => Ok(Self(digits)),
            more => Err(format!("A phone number has at most {MOST_DIGITS} digits; this has {more}.")),
        }
    }

    /// The digits without a plus, as stored and as providers want them.
    pub fn digits(&self) -> &str {
        &self.0
    }

    /// Digits that come from the database or a provider and are known to be a number.
    ///
    /// # Errors
    /// When they are not.
    pub fn from_digits(digits: &str) -> Result<Self, String> {
        if digits.bytes().all(|byte| byte.is_ascii_digit()) {
            Self::parse(digits)
        } else {
            Err("A number is stored as digits only.".into())
        }
    }
}

/// With plus, as people and the API see it.
impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "+{}", self.0)
    }
}

impl<'de> Deserialize<'de> for Recipient {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_numbers_as_people_write_them() {
        for text in [
            "+60 12-345 6789",
            "0060 12 345 6789",
            "60123456789@c.us",
            "60123456789@s.whatsapp.net",
            "60123456789",
            " +60.12.345.6789 ",
            "+60 (12) 345/6789",
            "+60\u{a0}12\u{202f}345\u{2011}6789",
        ] {
            assert_eq!(Recipient::parse(text).as_ref().map(Recipient::digits), Ok("60123456789"), "{text}");
        }
        assert_eq!(Recipient::parse("+683 4002").unwrap().to_string(), "+6834002");
        assert_eq!(Recipient::parse("+1 234 567 890 123 45").unwrap().digits().len(), 15);
    }

    #[test]
    fn refuses_the_rest_with_the_reason() {
        let reason = |text: &str| Recipient::parse(text).unwrap_err();
        for (text, word) in [
            ("", "Write the number"),
            ("   ", "Write the number"),
            ("+", "Write the number"),
            ("00", "Write the number"),
            ("abc", "letters"),
            ("+60 12 CALL ME", "letters"),
            ("٦٠١٢٣٤٥٦٧٨٩", "no phone number"),
            ("123", "at least 7"),
            ("12345678901234567890", "at most 15"),
            ("120363025246125486@g.us", "group"),
            ("120363025246125486@newsletter", "channel"),
            ("60123456789@lid", "hidden id"),
            ("ada@acme.example", "no phone number"),
            ("0123456789", "country code"),
            ("+0123456789", "country code"),
            ("60+123456789", "plus"),
            ("60123456789;drop", "no phone number"),
            ("60123456789\0", "no phone number"),
        ] {
            assert!(reason(text).contains(word), "{text}: {}", reason(text));
        }
        assert!(reason(&"1".repeat(10_000)).contains("much longer"));
    }

    proptest! {
        #[test]
        fn every_number_survives_how_it_is_written(
            digits in "[1-9][0-9]{6,14}",
            prefix in prop_oneof![Just(""), Just("+"), Just("00")],
            gaps in proptest::collection::vec(prop_oneof![Just(""), Just(" "), Just("-"), Just("."), Just("(")], 15),
        ) {
            let mut text = prefix.to_owned();
            for (digit, gap) in digits.chars().zip(gaps) {
                text.push(digit);
                text.push_str(gap);
            }
            let read = Recipient::parse(&text).map_err(TestCaseError::fail)?;
            prop_assert_eq!(read.digits(), &digits);
            // What is shown is read as the same, and so is what is stored.
            prop_assert_eq!(Recipient::parse(&read.to_string()), Ok(read.clone()));
            prop_assert_eq!(Recipient::from_digits(read.digits()), Ok(read));
        }

        #[test]
        fn whatever_comes_is_a_number_or_a_sentence(text in ".{0,80}") {
            match Recipient::parse(&text) {
                Ok(read) => {
                    prop_assert!((LEAST_DIGITS..=MOST_DIGITS).contains(&read.digits().len()));
                    prop_assert!(read.digits().bytes().all(|b| b.is_ascii_digit()) && !read.digits().starts_with('0'));
                }
                Err(reason) => prop_assert!(reason.ends_with('.')),
            }
        }
    }
}
