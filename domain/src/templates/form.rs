//! A template as somebody makes it for the sandbox: the rules under which Meta would take it
//! (<https://developers.facebook.com/docs/whatsapp/business-management-api/message-templates/components>), as far as
//! they can be told from the template alone. Paths are those of the call's body, such as `components[1].text`.

use serde_json::{Map, Value};

use super::{
    Listed, ParameterFormat, Pattern,
    pattern::{Header, variables},
};
use crate::error::FieldError;

pub const NAME_MAX: usize = 512;
pub const CATEGORIES: [&str; 3] = ["MARKETING", "UTILITY", "AUTHENTICATION"];
/// Statuses a sandbox template can be given, to try out what happens then.
pub const STATUSES: [&str; 4] = ["APPROVED", "PENDING", "REJECTED", "PAUSED"];
pub const COMPONENTS_MAX: usize = 6;
pub const BUTTONS_MAX: usize = 10;
const CARDS: std::ops::RangeInclusive<usize> = 2..=10;
const HEADER_MAX: usize = 60;
const BODY_MAX: usize = 1_024;
const CARD_BODY_MAX: usize = 160;
const FOOTER_MAX: usize = 60;
const BUTTON_MAX: usize = 25;
const URL_MAX: usize = 2_000;

/// A template as it was typed.
#[derive(Debug, Clone, PartialEq)]
pub struct TemplateForm {
    pub name: String,
    pub language: String,
    pub category: String,
    /// `None`: the variables themselves tell.
    pub parameter_format: Option<ParameterFormat>,
    pub components: Value,
}

impl TemplateForm {
    /// The template, approved at once, or everything that is wrong with it.
    ///
    /// # Errors
    /// One for each wrong field.
    pub fn parse(self) -> Result<Listed, Vec<FieldError>> {
        let mut errors = Vec::new();
        if !is_name(&self.name) {
            errors.push(FieldError::new(
                "name",
                format!("Up to {NAME_MAX} lower-case letters, digits and underscores, such as order_update."),
            ));
        }
        if !is_language(&self.language) {
            errors.push(FieldError::new("language", "A language code, such as en or en_US."));
        }
        let category = category(&self.category).unwrap_or_else(|error| {
            errors.push(error);
            ""
        });
        let (components, found) = components(self.components, category, self.parameter_format);
        errors.extend(found);
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok(Listed {
            provider_id: None,
            parameter_format: self.parameter_format.unwrap_or_else(|| Pattern::of(&components).format()),
            name: self.name,
            language: self.language,
            category: category.to_owned(),
            status: super::APPROVED.to_owned(),
            components,
        })
    }
}

fn is_name(name: &str) -> bool {
    (1..=NAME_MAX).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

/// `en`, `fil`, `en_US`, `zh_Hant_HK`: letters in parts.
fn is_language(code: &str) -> bool {
    let mut parts = code.split('_');
    let part = |part: &str, least| (least..=4).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric());
    parts.next().is_some_and(|first| (2..=3).contains(&first.len()) && first.bytes().all(|b| b.is_ascii_lowercase()))
        && parts.clone().count() <= 2
        && parts.all(|other| part(other, 2))
}

/// One of [`CATEGORIES`], in capitals.
///
/// # Errors
/// For the field `category`.
pub fn category(text: &str) -> Result<&'static str, FieldError> {
    one_of("category", text, &CATEGORIES)
}

/// One of [`STATUSES`], in capitals.
///
/// # Errors
/// For the field `status`.
pub fn status(text: &str) -> Result<&'static str, FieldError> {
    one_of("status", text, &STATUSES)
}

fn one_of(field: &str, text: &str, known: &'static [&'static str]) -> Result<&'static str, FieldError> {
    known
        .iter()
        .copied()
        .find(|one| one.eq_ignore_ascii_case(text))
        .ok_or_else(|| FieldError::new(field, format!("One of {}.", known.join(", "))))
}

/// Components in the form of a listing, words in capitals, and what is wrong with them.
pub fn components(value: Value, category: &str, format: Option<ParameterFormat>) -> (Value, Vec<FieldError>) {
    let mut check = Check { errors: Vec::new() };
    let Value::Array(mut items) = value else {
        check.add("components", "This must be a list of components.");
        return (Value::Null, check.errors);
    };
    if items.len() > COMPONENTS_MAX {
        check.add("components", format!("At most {COMPONENTS_MAX} components; these are {}.", items.len()));
        return (Value::Null, check.errors);
    }
    let kinds = check.components("components", &mut items, BODY_MAX, false);
    if !kinds.iter().any(|kind| kind == "BODY") {
        check.add("components", "A template needs a component of the type BODY.");
    }
    let components = Value::Array(items);
    let pattern = Pattern::of(&components);
    // What is wrong in shape makes the rest a guess.
    if check.errors.is_empty() {
        check.names(&pattern, format.unwrap_or_else(|| pattern.format()), "components");
        check.category(&pattern, category);
    }
    (components, check.errors)
}

struct Check {
    errors: Vec<FieldError>,
}

impl Check {
    fn add(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.errors.push(FieldError::new(path, message));
    }

    /// The kinds that are there.
    fn components(&mut self, base: &str, items: &mut [Value], body_max: usize, in_card: bool) -> Vec<String> {
        let mut kinds: Vec<String> = Vec::new();
        for (at, item) in items.iter_mut().enumerate() {
            let path = format!("{base}[{at}]");
            let Value::Object(component) = item else {
                self.add(path, "This must be an object with a type.");
                continue;
            };
            let kind = self.word(&path, component, "type");
            let known: &[&str] = match kind.as_str() {
                "HEADER" => &["type", "format", "text", "example"],
                "BODY" => &["type", "text", "example", "add_security_recommendation"],
                "FOOTER" if !in_card => &["type", "text", "code_expiration_minutes"],
                "BUTTONS" => &["type", "buttons"],
                "CAROUSEL" if !in_card => &["type", "cards"],
                "LIMITED_TIME_OFFER" if !in_card => &["type", "limited_time_offer"],
                "" => continue,
                _ => {
                    let choice = if in_card {
                        "HEADER, BODY or BUTTONS"
                    } else {
                        "HEADER, BODY, FOOTER, BUTTONS, CAROUSEL or LIMITED_TIME_OFFER"
                    };
                    self.add(format!("{path}.type"), format!("One of {choice}."));
                    continue;
                }
            };
            self.unknown(&path, component, known);
            if kinds.contains(&kind) {
                self.add(format!("{path}.type"), "There is already a component of this type.");
            }
            match kind.as_str() {
                "HEADER" => self.header(&path, component),
                "BODY" => self.body(&path, component, body_max),
                "FOOTER" => {
                    if component.contains_key("text") || !component.contains_key("code_expiration_minutes") {
                        self.text(&path, component, "text", FOOTER_MAX);
                    }
                    self.minutes(&path, component);
                }
                "BUTTONS" => self.buttons(&path, component),
                "CAROUSEL" => self.cards(&path, component),
                _ => self.offer(&path, component),
            }
            kinds.push(kind);
        }
        kinds
    }

    /// A word in capitals; empty after a complaint.
    fn word(&mut self, path: &str, object: &mut Map<String, Value>, field: &str) -> String {
        match object.get_mut(field) {
            Some(Value::String(word)) if !word.is_empty() => {
                *word = word.to_ascii_uppercase();
                word.clone()
            }
            Some(_) => {
                self.add(format!("{path}.{field}"), "This must be a word.");
                String::new()
            }
            None => {
                self.add(format!("{path}.{field}"), "This is required.");
                String::new()
            }
        }
    }

    fn unknown(&mut self, path: &str, object: &Map<String, Value>, known: &[&str]) {
        for field in object.keys().filter(|field| !known.contains(&field.as_str())).take(20) {
            let shown: String = field.chars().take(100).collect();
            self.add(format!("{path}.{shown}"), "There is no such field.");
        }
    }

    fn text(&mut self, path: &str, object: &Map<String, Value>, field: &str, most: usize) {
        let path = format!("{path}.{field}");
        match object.get(field) {
            None => self.add(path, "This is required."),
            Some(Value::String(text)) if text.trim().is_empty() => self.add(path, "This must not be empty."),
            Some(Value::String(text)) if text.contains('\0') => self.add(path, "This must not contain NUL."),
            Some(Value::String(text)) if text.chars().count() > most => {
                self.add(path, format!("At most {most} characters; these are {}.", text.chars().count()));
            }
            Some(Value::String(_)) => {}
            Some(_) => self.add(path, "This must be a text."),
        }
    }

    fn header(&mut self, path: &str, component: &mut Map<String, Value>) {
        match self.word(path, component, "format").as_str() {
            "TEXT" => self.text(path, component, "text", HEADER_MAX),
            "IMAGE" | "VIDEO" | "DOCUMENT" | "LOCATION" | "PRODUCT" => {
                if component.contains_key("text") {
                    self.add(format!("{path}.text"), "Only a header of the format TEXT has a text.");
                }
            }
            "" => {}
            _ => self.add(format!("{path}.format"), "One of TEXT, IMAGE, VIDEO, DOCUMENT, LOCATION or PRODUCT."),
        }
    }

    fn body(&mut self, path: &str, component: &Map<String, Value>, most: usize) {
        match component.get("add_security_recommendation") {
            None => self.text(path, component, "text", most),
            Some(Value::Bool(_)) if component.contains_key("text") => {
                self.add(format!("{path}.text"), "The text of a one-time code's message is the provider's own.");
            }
            Some(Value::Bool(_)) => {}
            Some(_) => self.add(format!("{path}.add_security_recommendation"), "This must be true or false."),
        }
    }

    fn minutes(&mut self, path: &str, component: &Map<String, Value>) {
        if let Some(minutes) = component.get("code_expiration_minutes")
            && !minutes.as_i64().is_some_and(|minutes| (1..=90).contains(&minutes))
        {
            self.add(format!("{path}.code_expiration_minutes"), "A whole number from 1 to 90.");
        }
    }

    fn buttons(&mut self, path: &str, component: &mut Map<String, Value>) {
        let path = format!("{path}.buttons");
        let Some(Value::Array(buttons)) = component.get_mut("buttons") else {
            return self.add(path, "This must be a list of buttons.");
        };
        if !(1..=BUTTONS_MAX).contains(&buttons.len()) {
            return self.add(path, format!("1 to {BUTTONS_MAX} buttons; these are {}.", buttons.len()));
        }
        for (at, button) in buttons.iter_mut().enumerate() {
            let path = format!("{path}[{at}]");
            match button {
                Value::Object(button) => self.button(&path, button),
                _ => self.add(path, "This must be an object with a type."),
            }
        }
    }

    fn button(&mut self, path: &str, button: &mut Map<String, Value>) {
        let kind = self.word(path, button, "type");
        let known: &[&str] = match kind.as_str() {
            "" => return,
            "QUICK_REPLY" | "CATALOG" | "MPM" | "SPM" => &["type", "text"],
            "URL" => &["type", "text", "url", "example"],
            "PHONE_NUMBER" => &["type", "text", "phone_number"],
            "COPY_CODE" => &["type", "text", "example"],
            "VOICE_CALL" => &["type", "text", "ttl_minutes"],
            "FLOW" => &["type", "text", "flow_id", "flow_name", "flow_json", "flow_action", "navigate_screen", "icon"],
            "OTP" => &[
                "type",
                "text",
                "otp_type",
                "autofill_text",
                "package_name",
                "signature_hash",
                "supported_apps",
                "zero_tap_terms_accepted",
            ],
            _ => {
                let all = "QUICK_REPLY, URL, PHONE_NUMBER, COPY_CODE, OTP, CATALOG, MPM, SPM, FLOW or VOICE_CALL";
                return self.add(format!("{path}.type"), format!("One of {all}."));
            }
        };
        self.unknown(path, button, known);
        // The provider words these itself.
        if button.contains_key("text") || !matches!(kind.as_str(), "COPY_CODE" | "OTP") {
            self.text(path, button, "text", BUTTON_MAX);
        }
        match kind.as_str() {
            "URL" => self.url(path, button),
            "PHONE_NUMBER" => self.text(path, button, "phone_number", 20),
            "OTP" => {
                let kind = self.word(path, button, "otp_type");
                if !matches!(kind.as_str(), "" | "COPY_CODE" | "ONE_TAP" | "ZERO_TAP") {
                    self.add(format!("{path}.otp_type"), "One of COPY_CODE, ONE_TAP or ZERO_TAP.");
                }
            }
            _ => {}
        }
    }

    fn url(&mut self, path: &str, button: &Map<String, Value>) {
        self.text(path, button, "url", URL_MAX);
        let Some(Value::String(url)) = button.get("url") else { return };
        let path = format!("{path}.url");
        if !url.starts_with("https://") && !url.starts_with("http://") {
            self.add(path, "An address that begins with https://.");
        } else if variables(url).len() > 1 || (!variables(url).is_empty() && !url.ends_with("}}")) {
            self.add(path, "An address has at most one variable, at its end.");
        }
    }

    fn cards(&mut self, path: &str, component: &mut Map<String, Value>) {
        let path = format!("{path}.cards");
        let Some(Value::Array(cards)) = component.get_mut("cards") else {
            return self.add(path, "This must be a list of cards.");
        };
        if !CARDS.contains(&cards.len()) {
            let sentence = format!("{} to {} cards; these are {}.", CARDS.start(), CARDS.end(), cards.len());
            return self.add(path, sentence);
        }
        for (at, card) in cards.iter_mut().enumerate() {
            let path = format!("{path}[{at}]");
            let Value::Object(card) = card else {
                self.add(path, "This must be an object with components.");
                continue;
            };
            self.unknown(&path, card, &["components"]);
            let Some(Value::Array(components)) = card.get_mut("components") else {
                self.add(format!("{path}.components"), "This must be a list of components.");
                continue;
            };
            let base = format!("{path}.components");
            let kinds = self.components(&base, components, CARD_BODY_MAX, true);
            let media = components.iter().any(|component| {
                component["type"] == "HEADER"
                    && matches!(component["format"].as_str(), Some("IMAGE" | "VIDEO" | "PRODUCT"))
            });
            if !kinds.iter().any(|kind| kind == "HEADER") || !media {
                self.add(base, "A card needs a header with an image, a video or a product.");
            }
        }
    }

    fn offer(&mut self, path: &str, component: &Map<String, Value>) {
        let path = format!("{path}.limited_time_offer");
        let Some(Value::Object(offer)) = component.get("limited_time_offer") else {
            return self.add(path, "This must be an object with text and has_expiration.");
        };
        self.unknown(&path, offer, &["text", "has_expiration"]);
        self.text(&path, offer, "text", 16);
        if offer.get("has_expiration").is_some_and(|has| !has.is_boolean()) {
            self.add(format!("{path}.has_expiration"), "This must be true or false.");
        }
    }

    /// Positional variables count from 1 without gaps; named ones are words.
    fn names(&mut self, pattern: &Pattern, format: ParameterFormat, base: &str) {
        let header = match &pattern.header {
            Some(Header::Text(names)) => &names[..],
            _ => &[],
        };
        if header.len() > 1 {
            self.add(base, "A header has at most one variable.");
        }
        for (part, names) in [("header", header), ("body", &pattern.body[..])] {
            let right = match format {
                ParameterFormat::Positional => {
                    let mut numbers: Vec<usize> = names.iter().filter_map(|name| name.parse().ok()).collect();
                    numbers.sort_unstable();
                    numbers.len() == names.len() && numbers.iter().enumerate().all(|(at, number)| at + 1 == *number)
                }
                ParameterFormat::Named => {
                    names.iter().all(|name| is_name(name) && !name.starts_with(|c: char| c.is_ascii_digit()))
                }
            };
            if !right {
                let rule = match format {
                    ParameterFormat::Positional => "count from {{1}} without gaps",
                    ParameterFormat::Named => "are lower-case words such as {{first_name}}",
                };
                self.add(base, format!("The variables of the {part} {rule}."));
            }
        }
        for card in &pattern.cards {
            self.names(card, format, base);
        }
    }

    fn category(&mut self, pattern: &Pattern, category: &str) {
        let code = pattern.buttons.contains(&super::pattern::Button::Otp);
        if category == "AUTHENTICATION" && !code {
            self.add("components", "A template of the category AUTHENTICATION has a button of the type OTP.");
        } else if !category.is_empty() && category != "AUTHENTICATION" && code {
            self.add("category", "A template with a button of the type OTP has the category AUTHENTICATION.");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn form(components: Value) -> TemplateForm {
        TemplateForm {
            name: "order_update".into(),
            language: "en_US".into(),
            category: "utility".into(),
            parameter_format: None,
            components,
        }
    }

    fn fields(form: TemplateForm) -> Vec<String> {
        form.parse().err().into_iter().flatten().map(|error| error.field).collect()
    }

    #[test]
    fn words_are_capitalised_and_the_format_is_told_by_the_variables() {
        let made = form(json!([{ "type": "body", "text": "Hi {{first_name}}" }, { "type": "footer", "text": "Bye" }]));
        let made = made.parse().unwrap();
        assert_eq!((made.category.as_str(), made.status.as_str()), ("UTILITY", "APPROVED"));
        assert_eq!(made.parameter_format, ParameterFormat::Named);
        assert_eq!(made.components[0]["type"], "BODY");
    }

    #[test]
    fn wrong_fields_are_named() {
        let body = json!({ "type": "BODY", "text": "Hi" });
        for (components, field) in [
            (json!(null), "components"),
            (json!({}), "components"),
            (json!([]), "components"),
            (json!([1, body]), "components[0]"),
            (json!([{ "type": "FOOTER", "text": "x" }]), "components"),
            (json!([body, body]), "components[1].type"),
            (json!([{ "type": "BODY" }]), "components[0].text"),
            (json!([{ "type": "BODY", "text": 1 }]), "components[0].text"),
            (json!([{ "type": "BODY", "text": "x\0" }]), "components[0].text"),
            (json!([{ "type": "BODY", "text": "x".repeat(1_025) }]), "components[0].text"),
            (json!([{ "type": "BODY", "text": "x", "txt": 1 }]), "components[0].txt"),
            (json!([{ "type": "BODY", "text": "{{2}}" }]), "components"),
            (json!([{ "type": "BODY", "text": "{{Name}}" }]), "components"),
            (json!([body, { "type": "HEADER", "format": "TEXT", "text": "{{1}} {{2}}" }]), "components"),
            (json!([body, { "type": "HEADER", "format": "GIF" }]), "components[1].format"),
            (json!([body, { "type": "HEADER", "format": "IMAGE", "text": "x" }]), "components[1].text"),
            (json!([body, { "type": "BUTTONS", "buttons": [] }]), "components[1].buttons"),
            (
                json!([body, { "type": "BUTTONS", "buttons": [{ "type": "FLY", "text": "x" }] }]),
                "components[1].buttons[0].type",
            ),
            (
                json!([body, { "type": "BUTTONS", "buttons": [{ "type": "URL", "text": "x", "url": "ftp://x" }] }]),
                "components[1].buttons[0].url",
            ),
            (
                json!([body, { "type": "BUTTONS", "buttons": [{ "type": "URL", "text": "x", "url": "https://x/{{1}}/y" }] }]),
                "components[1].buttons[0].url",
            ),
            (json!([body, { "type": "BUTTONS", "buttons": [{ "type": "OTP", "otp_type": "COPY_CODE" }] }]), "category"),
            (json!([body, { "type": "CAROUSEL", "cards": [{}] }]), "components[1].cards"),
            (
                json!([body, { "type": "CAROUSEL", "cards": [{ "components": [] }, { "components": [{ "type": "HEADER", "format": "IMAGE" }] }] }]),
                "components[1].cards[0].components",
            ),
        ] {
            assert_eq!(fields(form(components.clone())), [field], "{components}");
        }
        for (name, field) in [("", "name"), ("Order", "name"), ("order-update", "name")] {
            assert_eq!(fields(TemplateForm { name: name.into(), ..form(json!([body])) }), [field], "{name}");
        }
        for language in ["", "e", "english", "EN", "en-US", "en_", "en_US_x_y", "en US"] {
            assert_eq!(
                fields(TemplateForm { language: language.into(), ..form(json!([body])) }),
                ["language"],
                "{language}"
            );
        }
        for language in ["en", "fil", "en_US", "zh_Hant_HK", "es_419"] {
            assert!(fields(TemplateForm { language: language.into(), ..form(json!([body])) }).is_empty(), "{language}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(kind in "HEADER|BODY|FOOTER|BUTTONS|CAROUSEL|LIMITED_TIME_OFFER|\\PC{0,5}", text in "[{}a1 _]{0,30}", number: i64) {
            for value in [json!(text), json!(number), json!([{ "type": text }]), json!({ "text": number }), json!([[]])] {
                let component = json!({ "type": kind, "text": value, "format": "TEXT", "buttons": value, "cards": value, "limited_time_offer": value });
                _ = form(json!([component])).parse();
            }
        }
    }
}
