//! Values in addresses.

/// Percent-encodes everything but letters, digits and `-._~/`. The same on the server and in the browser.
pub fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn encodes_what_would_end_a_value() {
        assert_eq!(super::encode("a b&c=é/x?y#z"), "a%20b%26c%3D%C3%A9/x%3Fy%23z");
    }
}
