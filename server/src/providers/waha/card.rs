//! Contact cards: vCard 3.0 (RFC 2426), with WhatsApp's `waid` on numbers.

use domain::messages::body::Contact;

/// The contact as vCard.
pub fn of(contact: &Contact) -> String {
    let mut card = Card(String::from("BEGIN:VCARD\nVERSION:3.0\n"));
    let name = &contact.name;
    let parts = [&name.last_name, &name.first_name, &name.middle_name, &name.prefix, &name.suffix];
    card.line("N", &parts.map(|part| escape(part.as_deref().unwrap_or_default())).join(";"));
    card.line("FN", &escape(&name.formatted_name));
    if let Some(org) = &contact.org {
        let parts: Vec<String> =
            [&org.company, &org.department].into_iter().flatten().map(|part| escape(part)).collect();
        if !parts.is_empty() {
            card.line("ORG", &parts.join(";"));
        }
        if let Some(title) = &org.title {
            card.line("TITLE", &escape(title));
        }
    }
    for phone in &contact.phones {
        let digits = phone.wa_id.as_deref().filter(|id| !id.is_empty() && id.bytes().all(|b| b.is_ascii_digit()));
        let waid = digits.map(|digits| format!(";waid={digits}")).unwrap_or_default();
        card.line(&format!("TEL{}{waid}", kind(phone.r#type.as_deref())), &escape(&phone.phone));
    }
    for email in &contact.emails {
        card.line(&format!("EMAIL{}", kind(email.r#type.as_deref())), &escape(&email.email));
    }
    for url in &contact.urls {
        card.line(&format!("URL{}", kind(url.r#type.as_deref())), &escape(&url.url));
    }
    for address in &contact.addresses {
        let country = address.country.as_ref().or(address.country_code.as_ref());
        let parts = [
            None,
            None,
            address.street.as_ref(),
            address.city.as_ref(),
            address.state.as_ref(),
            address.zip.as_ref(),
            country,
        ];
        let text = parts.map(|part| part.map(|part| escape(part)).unwrap_or_default()).join(";");
        card.line(&format!("ADR{}", kind(address.r#type.as_deref())), &text);
    }
    if let Some(day) = &contact.birthday {
        card.line("BDAY", &escape(day));
    }
    card.0.push_str("END:VCARD");
    card.0
}

struct Card(String);

impl Card {
    fn line(&mut self, name: &str, value: &str) {
        self.0.push_str(name);
        self.0.push(':');
        self.0.push_str(value);
        self.0.push('\n');
    }
}

/// `;type=WORK`, unless it is no plain word: then it could end the line's head.
fn kind(kind: Option<&str>) -> String {
    match kind {
        Some(word) if !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric()) => format!(";type={word}"),
        _ => String::new(),
    }
}

/// RFC 2426, section 4: nothing that somebody typed can begin a new line or part.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | ',' | ';' => {
                escaped.push('\\');
                escaped.push(c);
            }
            '\n' => escaped.push_str("\\n"),
            '\r' => {}
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn everything_is_on_the_card() {
        let contact: Contact = serde_json::from_value(json!({
            "name": { "formatted_name": "Barbara J. Johnson", "first_name": "Barbara", "last_name": "Johnson", "middle_name": "J.", "suffix": "Esq." },
            "org": { "company": "Social Tsunami", "department": "Legal", "title": "Lead Counsel" },
            "phones": [{ "phone": "+1 (415) 555-0829", "type": "WORK", "wa_id": "14155550829" }, { "phone": "+16505559999" }],
            "emails": [{ "email": "bjohnson@example.com", "type": "WORK" }],
            "urls": [{ "url": "https://example.com", "type": "WORK" }],
            "addresses": [{ "street": "1 Lucky Shrub Way", "city": "Menlo Park", "state": "CA", "zip": "94025", "country": "United States", "type": "WORK" }],
            "birthday": "1999-01-23",
        }))
        .unwrap();
        assert_eq!(
            of(&contact),
            "BEGIN:VCARD\nVERSION:3.0\nN:Johnson;Barbara;J.;;Esq.\nFN:Barbara J. Johnson\nORG:Social Tsunami;Legal\n\
             TITLE:Lead Counsel\nTEL;type=WORK;waid=14155550829:+1 (415) 555-0829\nTEL:+16505559999\n\
             EMAIL;type=WORK:bjohnson@example.com\nURL;type=WORK:https://example.com\n\
             ADR;type=WORK:;;1 Lucky Shrub Way;Menlo Park;CA;94025;United States\nBDAY:1999-01-23\nEND:VCARD"
        );
    }

    #[test]
    fn nothing_typed_begins_a_line_of_its_own() {
        let contact: Contact = serde_json::from_value(json!({
            "name": { "formatted_name": "A;B,C\\D\r\nEND:VCARD" },
            "phones": [{ "phone": "1\nTEL:2", "type": "X:evil\n", "wa_id": "1:2" }],
        }))
        .unwrap();
        assert_eq!(
            of(&contact),
            "BEGIN:VCARD\nVERSION:3.0\nN:;;;;\nFN:A\\;B\\,C\\\\D\\nEND:VCARD\nTEL:1\\nTEL:2\nEND:VCARD"
        );
    }
}
