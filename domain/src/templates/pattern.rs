//! What of a template's components matters when it is filled in.

use serde_json::Value;

use super::ParameterFormat;

/// The parts of a template that take something.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Pattern {
    pub header: Option<Header>,
    /// The names of the variables in the body's text, in the order of their first appearance. The body of a one-time
    /// code is the provider's own sentence and has one, the code.
    pub body: Vec<String>,
    pub buttons: Vec<Button>,
    pub cards: Vec<Pattern>,
    pub offer: Option<Offer>,
}

/// What stands above the body.
#[derive(Debug, Clone, PartialEq)]
pub enum Header {
    /// A text, with its variables.
    Text(Vec<String>),
    Image,
    Video,
    Document,
    Location,
    /// A product of the catalogue.
    Product,
    /// A kind this program does not know, in the provider's word; what is filled in is not checked.
    Other(String),
}

/// A button, at the place that `index` counts from 0.
#[derive(Debug, Clone, PartialEq)]
pub enum Button {
    QuickReply,
    /// A link, and whether it ends in a variable.
    Url {
        variable: bool,
    },
    PhoneNumber,
    /// Copies a coupon code.
    CopyCode,
    /// Copies or fills in a one-time code, which must also stand in the body.
    Otp,
    Catalog,
    /// Several products.
    Mpm,
    /// The product of the header.
    Spm,
    Flow,
    VoiceCall,
    Other(String),
}

/// A limited-time offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offer {
    /// The message shows when it ends, so the end must be told.
    pub expires: bool,
}

impl Pattern {
    /// Reads components in the provider's form. What it does not know, it leaves out.
    pub fn of(components: &Value) -> Self {
        let mut pattern = Self::default();
        for component in components.as_array().into_iter().flatten() {
            match word(component, "type").as_str() {
                "HEADER" => pattern.header = Some(Header::of(component)),
                "BODY" => pattern.body = variables(component["text"].as_str().unwrap_or_default()),
                "BUTTONS" => {
                    pattern.buttons = component["buttons"].as_array().into_iter().flatten().map(Button::of).collect();
                }
                "CAROUSEL" => {
                    let cards = component["cards"].as_array();
                    pattern.cards = cards.into_iter().flatten().map(|card| Self::of(&card["components"])).collect();
                }
                "LIMITED_TIME_OFFER" => {
                    let expires = component["limited_time_offer"]["has_expiration"].as_bool().unwrap_or(false);
                    pattern.offer = Some(Offer { expires });
                }
                _ => {}
            }
        }
        if pattern.body.is_empty() && pattern.buttons.contains(&Button::Otp) {
            pattern.body.push("1".into());
        }
        pattern
    }

    /// How its variables are called: named as soon as one of them is no number.
    pub fn format(&self) -> ParameterFormat {
        let header = match &self.header {
            Some(Header::Text(variables)) => &variables[..],
            _ => &[],
        };
        let named = |names: &[String]| names.iter().any(|name| name.bytes().any(|b| !b.is_ascii_digit()));
        if named(header) || named(&self.body) || self.cards.iter().any(|card| card.format() == ParameterFormat::Named) {
            ParameterFormat::Named
        } else {
            ParameterFormat::Positional
        }
    }
}

impl Header {
    fn of(component: &Value) -> Self {
        match word(component, "format").as_str() {
            // Creation may leave the format out when there is a text.
            "TEXT" | "" => Self::Text(variables(component["text"].as_str().unwrap_or_default())),
            "IMAGE" => Self::Image,
            "VIDEO" => Self::Video,
            "DOCUMENT" => Self::Document,
            "LOCATION" => Self::Location,
            "PRODUCT" => Self::Product,
            other => Self::Other(other.to_owned()),
        }
    }
}

impl Button {
    fn of(button: &Value) -> Self {
        match word(button, "type").as_str() {
            "QUICK_REPLY" => Self::QuickReply,
            "URL" => {
                let url = button["url"].as_str().unwrap_or_default();
                // Listings may show the button of a one-time code as what it does: a link to WhatsApp's own page.
                if url.starts_with("https://www.whatsapp.com/otp/") || !button["otp_type"].is_null() {
                    Self::Otp
                } else {
                    Self::Url { variable: !variables(url).is_empty() }
                }
            }
            "PHONE_NUMBER" => Self::PhoneNumber,
            "COPY_CODE" => Self::CopyCode,
            "OTP" => Self::Otp,
            "CATALOG" => Self::Catalog,
            "MPM" => Self::Mpm,
            "SPM" => Self::Spm,
            "FLOW" => Self::Flow,
            "VOICE_CALL" => Self::VoiceCall,
            other => Self::Other(other.to_owned()),
        }
    }

    /// As it is called to people.
    pub fn label(&self) -> &str {
        match self {
            Self::QuickReply => "quick reply",
            Self::Url { .. } => "link",
            Self::PhoneNumber => "phone number",
            Self::CopyCode => "coupon code",
            Self::Otp => "one-time code",
            Self::Catalog => "catalogue",
            Self::Mpm => "multi-product",
            Self::Spm => "product",
            Self::Flow => "flow",
            Self::VoiceCall => "call",
            Self::Other(word) => word,
        }
    }
}

/// A word of the provider in upper case: listings have it so, creation often not.
fn word(component: &Value, field: &str) -> String {
    component[field].as_str().unwrap_or_default().to_ascii_uppercase()
}

/// The names between double braces, each once, in the order of their first appearance.
pub fn variables(text: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let mut rest = text;
    while let Some(begin) = rest.find("{{") {
        let after = &rest[begin + 2..];
        let Some(end) = after.find("}}") else { break };
        let name = after[..end].trim();
        if name.is_empty() || name.contains(['{', '}']) || name.len() > 100 {
            // Braces that hold no name; the next pair may begin within them.
            rest = &rest[begin + 1..];
            continue;
        }
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
        rest = &after[end + 2..];
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn finds_variables() {
        for (text, expected) in [
            ("", vec![]),
            ("Hello", vec![]),
            ("Hello {{1}}, {{2}} and {{1}} again", vec!["1", "2"]),
            ("{{ first_name }}!", vec!["first_name"]),
            ("{{{1}}}", vec!["1"]),
            ("{{}} {{ }} {{1", vec![]),
            ("{{a}}{{b}}", vec!["a", "b"]),
            ("{{2}}{{1}}", vec!["2", "1"]),
        ] {
            assert_eq!(variables(text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn reads_whatever_is_listed(text in "\\PC{0,80}", braces in "[{}a1 ]{0,40}") {
            for text in [text, braces] {
                for name in variables(&text) {
                    prop_assert!(text.contains(&name) && !name.is_empty());
                }
                let component = json!([{ "type": text, "text": text, "format": text, "buttons": text, "cards": [text] }]);
                Pattern::of(&component);
                Pattern::of(&json!(text));
            }
        }
    }

    #[test]
    fn a_listed_link_to_the_code_page_is_a_one_time_code() {
        let components = json!([
            { "type": "BODY", "text": "*{{1}}* is your verification code." },
            { "type": "BUTTONS", "buttons": [{ "type": "URL", "text": "Copy code",
                "url": "https://www.whatsapp.com/otp/code/?otp_type=COPY_CODE&code=otp{{1}}" }] },
        ]);
        let pattern = Pattern::of(&components);
        assert_eq!((&pattern.body[..], &pattern.buttons[..]), (&["1".to_owned()][..], &[Button::Otp][..]));
    }

    #[test]
    fn upper_and_lower_case_are_the_same() {
        let upper = json!([{ "type": "HEADER", "format": "IMAGE" }, { "type": "BUTTONS", "buttons": [{ "type": "URL", "url": "https://a.example/{{1}}" }] }]);
        let lower = json!([{ "type": "header", "format": "image" }, { "type": "buttons", "buttons": [{ "type": "url", "url": "https://a.example/{{1}}" }] }]);
        assert_eq!(Pattern::of(&upper), Pattern::of(&lower));
        assert_eq!(Pattern::of(&upper).buttons, [Button::Url { variable: true }]);
    }
}
