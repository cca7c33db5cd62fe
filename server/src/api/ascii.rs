//! Short texts of headers, put together without taking memory for each.

use http::HeaderValue;

/// Up to `N` characters. What does not fit is left out; callers choose `N` for the longest case.
pub(super) struct Ascii<const N: usize> {
    text: [u8; N],
    length: usize,
}

impl<const N: usize> Ascii<N> {
    pub fn new() -> Self {
        Self { text: [0; N], length: 0 }
    }

    pub fn text(self, text: &str) -> Self {
        self.bytes(text.as_bytes())
    }

    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        self.add(bytes);
        self
    }

    pub fn number(self, number: u64) -> Self {
        self.text(itoa::Buffer::new().format(number))
    }

    fn add(&mut self, bytes: &[u8]) {
        let room = &mut self.text[self.length..];
        let fits = bytes.len().min(room.len());
        room[..fits].copy_from_slice(&bytes[..fits]);
        self.length += fits;
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.text[..self.length]
    }

    /// Empty for what no header may hold, such as a line's end.
    pub fn header(&self) -> HeaderValue {
        HeaderValue::from_bytes(self.as_bytes()).unwrap_or(HeaderValue::from_static(""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn puts_texts_and_numbers_together() {
        let text = Ascii::<64>::new().text("a=").number(0).text(";b=").number(u64::MAX).text(";c=").number(1_000);
        assert_eq!(text.as_bytes(), b"a=0;b=18446744073709551615;c=1000");
        assert_eq!(Ascii::<3>::new().text("ab").number(1_234).as_bytes(), b"ab1");
    }

    #[test]
    fn a_header_takes_no_line_ends() {
        assert_eq!(Ascii::<16>::new().text("a=").number(7).header(), "a=7");
        assert_eq!(Ascii::<16>::new().text("a\n").header(), "");
    }
}
