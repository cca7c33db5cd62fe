//! Rules for what people type about themselves; they run in the browser and on the server.

use crate::error::FieldError;

pub const PASSWORD_MIN: usize = 12;
pub const PASSWORD_MAX: usize = 128;
pub const EMAIL_MAX: usize = 254;
const NAME_MAX: usize = 80;

/// An address as it is stored: trimmed, lower case, something before and after one `@`.
pub fn email(text: &str) -> Result<String, FieldError> {
    let email = text.trim().to_lowercase();
    let plausible = email.len() <= EMAIL_MAX
        && email.chars().all(|c| !c.is_whitespace() && !c.is_control())
        && email.split_once('@').is_some_and(|(local, host)| {
            !local.is_empty()
                && !host.contains('@')
                && host.len() >= 3
                && host.contains('.')
                && !host.starts_with('.')
                && !host.ends_with('.')
        });
    if plausible {
        Ok(email)
    } else {
        Err(FieldError::new("email", "Give an e-mail address, such as ada@acme.example."))
    }
}

/// A person's or an organization's name: 1 to 80 characters on one line.
pub fn name(field: &str, text: &str) -> Result<String, FieldError> {
    let name = text.trim();
    match name.chars().count() {
        0 => Err(FieldError::new(field, "Give a name.")),
        n if n > NAME_MAX => {
            Err(FieldError::new(field, format!("Keep the name to {NAME_MAX} characters; this one has {n}.")))
        }
        _ if name.chars().any(|c| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')) => {
            Err(FieldError::new(field, "The name has invisible control characters. Type it again without them."))
        }
        _ => Ok(name.to_owned()),
    }
}

/// Length only; the list of common passwords is checked on the server. NIST SP 800-63B: no rules about kinds of characters.
pub fn password_length(field: &str, password: &str) -> Result<(), FieldError> {
    match password.chars().count() {
        n if n < PASSWORD_MIN => Err(FieldError::new(
            field,
            format!("Use at least {PASSWORD_MIN} characters. A short sentence is easy to remember."),
        )),
        n if n > PASSWORD_MAX => Err(FieldError::new(field, format!("Use at most {PASSWORD_MAX} characters."))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        assert_eq!(email(" Ada@Acme.Example ").unwrap(), "ada@acme.example");
        for wrong in
            ["", "ada", "@acme.example", "ada@", "ada@acme", "a b@acme.example", "a@b@c.example", "ada@.example"]
        {
            assert!(email(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn password_lengths_count_characters() {
        assert!(password_length("password", "ääääääääääää").is_ok());
        assert!(password_length("password", "elevenchars").is_err());
        assert!(password_length("password", &"x".repeat(129)).is_err());
    }
}
