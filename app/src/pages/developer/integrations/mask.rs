//! Phone numbers as viewers see them. Server only: what is masked never travels.

/// Digits that a viewer sees at the ends of a number.
const SHOWN: (usize, usize) = (3, 2);
/// As long as a phone number can be (ITU-T E.164), and as short as one in use.
const NUMBER: std::ops::RangeInclusive<usize> = 7..=15;

/// `+436•••••67`: enough to recognise a number that one knows, and no more.
pub fn masked(digits: &str) -> String {
    let count = digits.chars().count();
    let hidden = count.saturating_sub(SHOWN.0 + SHOWN.1);
    digits.chars().enumerate().map(|(i, c)| if i >= SHOWN.0 && i < SHOWN.0 + hidden { '•' } else { c }).collect()
}

/// A text with everything in it masked that may be a phone number: runs of 7 to 15 digits that belong to no longer word.
pub fn masked_text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut after_word = false;
    while let Some(c) = rest.chars().next() {
        let run = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        if run == 0 {
            out.push(c);
            after_word = c.is_alphanumeric() || c == '_';
            rest = &rest[c.len_utf8()..];
            continue;
        }
        let next = rest[run..].chars().next();
        let word = after_word || next.is_some_and(|c| c.is_alphabetic() || c == '_');
        if NUMBER.contains(&run) && !word {
            out.push_str(&masked(&rest[..run]));
        } else {
            out.push_str(&rest[..run]);
        }
        after_word = true;
        rest = &rest[run..];
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_masked() {
        assert_eq!(masked("436601234567"), "436•••••••67");
        assert_eq!(masked("12345"), "12345");
        assert_eq!(
            masked_text(r#"{"to":"+436601234567","at":1763733787}"#),
            r#"{"to":"+436•••••••67","at":176•••••87}"#
        );
        // Ids and long figures stay what they are.
        for kept in ["msg_01h455vb4pex5vsknk084sn02q", "evt_0123456789", "1234567890123456", "123456", "", "ä123456ö"]
        {
            assert_eq!(masked_text(kept), kept);
        }
        assert_eq!(masked_text("436601234567@c.us 436601234568"), "436•••••••67@c.us 436•••••••68");
    }
}
