//! Does what a message fills in fit the template? Asked before a message is accepted, so that the caller hears of a
//! missing parameter at once and by its path, and not from the provider when it is too late.
//!
//! The rules are those of Meta's documents on sending templates
//! (<https://developers.facebook.com/docs/whatsapp/cloud-api/guides/send-message-templates>).

use std::collections::{BTreeMap, BTreeSet};

use super::{
    APPROVED, ParameterFormat, Pattern, Template,
    pattern::{Button, Header},
};
use crate::{
    error::FieldError,
    messages::body::{self, ButtonKind, Card, Component, Parameter},
};

/// Longest one-time code, in characters.
pub const CODE_MAX: usize = 15;
/// A carousel of products shows as many cards as are sent; one of media as many as it was approved with.
pub const PRODUCT_CARDS: std::ops::RangeInclusive<usize> = 2..=10;
/// Where the components stand in the body of a call.
const BASE: &str = "template.components";

/// Everything that does not fit, each by its path in the body of a call, such as
/// `template.components[0].parameters[1]`. Empty: the message may be sent.
pub fn check(template: &Template, filled: &body::Template) -> Vec<FieldError> {
    let mut check = Check { errors: Vec::new(), format: template.parameter_format };
    if filled.language.code != template.language {
        check.add(
            "template.language.code",
            format!("The template “{}” was looked up in {}.", template.name, template.language),
        );
    }
    if !template.status.eq_ignore_ascii_case(APPROVED) {
        check.add(
            "template.name",
            format!(
                "The template “{}” ({}) cannot be sent: its status is {}, and only {APPROVED} ones are.",
                template.name,
                template.language,
                if template.status.is_empty() { "unknown" } else { &template.status }
            ),
        );
    }
    check.parts(BASE, &template.pattern(), &filled.components, false);
    check.errors
}

/// What to say when an instance has no template of this name and language. `languages`: those it has of the name.
pub fn not_there(filled: &body::Template, languages: &[String]) -> FieldError {
    let (name, code) = (&filled.name, &filled.language.code);
    match languages {
        [] => FieldError::new("template.name", format!("This instance has no template “{name}”.")),
        some => FieldError::new(
            "template.language.code",
            format!("The template “{name}” is not there in {code}, but in {}.", some.join(", ")),
        ),
    }
}

struct Check {
    errors: Vec<FieldError>,
    format: ParameterFormat,
}

/// The filled-in parts of a template or of a card, each with its path.
#[derive(Default)]
struct Parts<'a> {
    header: Option<(String, &'a [Parameter])>,
    body: Option<(String, &'a [Parameter])>,
    offer: Option<(String, &'a [Parameter])>,
    buttons: BTreeMap<u8, (String, ButtonKind, &'a [Parameter])>,
    cards: Option<(String, &'a [Card])>,
}

impl Check {
    fn add(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.errors.push(FieldError::new(path, message));
    }

    fn parts(&mut self, base: &str, pattern: &Pattern, components: &[Component], in_card: bool) {
        let parts = self.sort(base, components, in_card);
        self.header(base, pattern, parts.header.as_ref());
        let body = parts.body.as_ref().map(|(path, parameters)| (path.as_str(), *parameters));
        self.variables(base, "body", &pattern.body, body);
        self.buttons(base, pattern, &parts);
        self.offer(base, pattern, parts.offer.as_ref());
        self.cards(base, pattern, parts.cards.as_ref());
    }

    /// Takes the components apart; of those that can be there once, the second is an error.
    fn sort<'a>(&mut self, base: &str, components: &'a [Component], in_card: bool) -> Parts<'a> {
        let mut parts = Parts::default();
        for (at, component) in components.iter().enumerate() {
            let path = format!("{base}[{at}]");
            let twice = match component {
                Component::Header { parameters } => parts.header.replace((path.clone(), parameters)).is_some(),
                Component::Body { parameters } => parts.body.replace((path.clone(), parameters)).is_some(),
                Component::Button { sub_type, index, parameters } => {
                    parts.buttons.insert(*index, (path.clone(), *sub_type, parameters)).is_some()
                }
                Component::Carousel { .. } | Component::LimitedTimeOffer { .. } if in_card => {
                    self.add(path, "A card has a header, a body and buttons only.");
                    continue;
                }
                Component::Carousel { cards } => parts.cards.replace((path.clone(), cards)).is_some(),
                Component::LimitedTimeOffer { parameters } => parts.offer.replace((path.clone(), parameters)).is_some(),
            };
            if twice {
                self.add(path, "This component is there twice.");
            }
        }
        parts
    }

    fn header(&mut self, base: &str, pattern: &Pattern, given: Option<&(String, &[Parameter])>) {
        let given = given.map(|(path, parameters)| (path.as_str(), *parameters));
        let kind = match &pattern.header {
            None => return self.nothing("header", given),
            Some(Header::Text(variables)) => return self.variables(base, "header", variables, given),
            Some(Header::Other(_)) => return,
            Some(Header::Image) => "image",
            Some(Header::Video) => "video",
            Some(Header::Document) => "document",
            Some(Header::Location) => "location",
            Some(Header::Product) => "product",
        };
        let a = if kind == "image" { "an" } else { "a" };
        match given {
            None => self.add(
                base,
                format!("The header needs {a} {kind}: add a component of the type header with a parameter of the type {kind}."),
            ),
            Some((_, [one])) if one.kind() == kind => {}
            Some((path, [one])) => self.add(
                format!("{path}.parameters[0].type"),
                format!("The header needs {a} {kind}; this is of the type {}.", one.kind()),
            ),
            Some((path, many)) => self.add(
                format!("{path}.parameters"),
                format!("The header needs one parameter, {a} {kind}; these are {}.", many.len()),
            ),
        }
    }

    /// For a part that has no variables.
    fn nothing(&mut self, part: &str, given: Option<(&str, &[Parameter])>) {
        if let Some((path, parameters)) = given
            && !parameters.is_empty()
        {
            self.add(format!("{path}.parameters"), format!("The template's {part} has no variables."));
        }
    }

    /// A text's variables and what is filled in for them.
    fn variables(&mut self, base: &str, part: &str, names: &[String], given: Option<(&str, &[Parameter])>) {
        if names.is_empty() {
            return self.nothing(part, given);
        }
        let Some((path, parameters)) = given else {
            return self.add(
                base,
                format!(
                    "The {part} has {}: add a component of the type {part} with a parameter for each.",
                    counted(names)
                ),
            );
        };
        for (at, parameter) in parameters.iter().enumerate() {
            match parameter {
                Parameter::Text { text, .. } if text.trim().is_empty() => {
                    self.add(format!("{path}.parameters[{at}].text"), "This must not be empty.");
                }
                Parameter::Text { .. } | Parameter::Currency { .. } | Parameter::DateTime { .. } => {}
                other => self.add(
                    format!("{path}.parameters[{at}].type"),
                    format!("A variable takes text, currency or date_time; this is {}.", other.kind()),
                ),
            }
        }
        match self.format {
            ParameterFormat::Positional => self.by_order(path, part, names, parameters),
            ParameterFormat::Named => self.by_name(path, part, names, parameters),
        }
    }

    fn by_order(&mut self, path: &str, part: &str, names: &[String], parameters: &[Parameter]) {
        if parameters.len() != names.len() {
            self.add(
                format!("{path}.parameters"),
                format!("The {part} has {}; the parameters given are {}.", counted(names), parameters.len()),
            );
        }
        for (at, _) in parameters.iter().enumerate().filter(|(_, parameter)| parameter.name().is_some()) {
            self.add(
                format!("{path}.parameters[{at}].parameter_name"),
                "This template's variables have no names: leave this out, and give the parameters in order.",
            );
        }
    }

    fn by_name(&mut self, path: &str, part: &str, names: &[String], parameters: &[Parameter]) {
        let mut missing: BTreeSet<&str> = names.iter().map(String::as_str).collect();
        for (at, parameter) in parameters.iter().enumerate() {
            let field = format!("{path}.parameters[{at}].parameter_name");
            match parameter.name() {
                None => self.add(field, format!("Say which variable this is: the {part} has {}.", counted(names))),
                Some(name) if missing.remove(name) => {}
                Some(name) if names.iter().any(|known| known == name) => {
                    self.add(field, format!("“{name}” is there twice."));
                }
                Some(name) => {
                    self.add(field, format!("The {part} has no variable “{name}”; it has {}.", counted(names)));
                }
            }
        }
        if !missing.is_empty() {
            let missing: Vec<&str> = names.iter().map(String::as_str).filter(|name| missing.contains(name)).collect();
            self.add(format!("{path}.parameters"), format!("Missing: {}.", missing.join(", ")));
        }
    }

    fn buttons(&mut self, base: &str, pattern: &Pattern, parts: &Parts<'_>) {
        for (index, (path, kind, parameters)) in &parts.buttons {
            match pattern.buttons.get(usize::from(*index)) {
                None => self.add(
                    format!("{path}.index"),
                    match pattern.buttons.len() {
                        0 => "The template has no buttons.".to_owned(),
                        1 => "The template has one button, with the index 0.".to_owned(),
                        n => format!("The template has {n} buttons, with the indexes 0 to {}.", n - 1),
                    },
                ),
                Some(button) => self.button(path, button, *kind, parameters, parts),
            }
        }
        for (index, button) in pattern.buttons.iter().enumerate() {
            let given = u8::try_from(index).is_ok_and(|index| parts.buttons.contains_key(&index));
            let needs = match button {
                Button::Url { variable: true } => "url",
                Button::Otp => "url",
                Button::CopyCode => "COPY_CODE",
                Button::Mpm => "mpm",
                _ => continue,
            };
            if !given {
                self.add(
                    base,
                    format!(
                        "The {} button at index {index} needs a parameter: add a component of the type button with the sub_type {needs}.",
                        button.label()
                    ),
                );
            }
        }
    }

    fn button(&mut self, path: &str, button: &Button, kind: ButtonKind, parameters: &[Parameter], parts: &Parts<'_>) {
        let (expected, takes, required) = match button {
            Button::Other(_) => return,
            Button::Url { variable: false } => {
                return self.takes_nothing(path, parameters, "This link has no variable.");
            }
            Button::PhoneNumber | Button::Spm | Button::VoiceCall => {
                let sentence = format!("The {} button takes no parameters.", button.label());
                return self.takes_nothing(path, parameters, &sentence);
            }
            Button::Url { variable: true } | Button::Otp => (ButtonKind::Url, &["text"][..], true),
            // Meta's reference has `payload`; some of its own examples have `text`.
            Button::QuickReply => (ButtonKind::QuickReply, &["payload", "text"][..], false),
            Button::CopyCode => (ButtonKind::CopyCode, &["coupon_code"][..], true),
            Button::Catalog => (ButtonKind::Catalog, &["action"][..], false),
            Button::Mpm => (ButtonKind::Mpm, &["action"][..], true),
            Button::Flow => (ButtonKind::Flow, &["action"][..], false),
        };
        if kind != expected {
            return self.add(
                format!("{path}.sub_type"),
                format!(
                    "The button at this index is a {} button: its sub_type is {}.",
                    button.label(),
                    expected.as_str()
                ),
            );
        }
        let one = match parameters {
            [] if !required => return,
            [one] => one,
            many => {
                return self.add(
                    format!("{path}.parameters"),
                    format!("This button takes one parameter of the type {}; these are {}.", takes[0], many.len()),
                );
            }
        };
        if !takes.contains(&one.kind()) {
            return self.add(
                format!("{path}.parameters[0].type"),
                format!("This button takes a parameter of the type {}; this is {}.", takes[0], one.kind()),
            );
        }
        match (button, one) {
            (Button::Otp, Parameter::Text { text, .. }) => self.code(path, text, parts),
            (Button::Url { .. }, Parameter::Text { text, .. }) if text.trim().is_empty() => {
                self.add(format!("{path}.parameters[0].text"), "This must not be empty.");
            }
            (Button::CopyCode, Parameter::CouponCode { coupon_code }) if coupon_code.trim().is_empty() => {
                self.add(format!("{path}.parameters[0].coupon_code"), "This must not be empty.");
            }
            (Button::Mpm, Parameter::Action { action })
                if action.sections.iter().all(|section| section.product_items.is_empty()) =>
            {
                self.add(
                    format!("{path}.parameters[0].action.sections"),
                    "Name the products to show: at least one section with one product.",
                );
            }
            _ => {}
        }
    }

    fn takes_nothing(&mut self, path: &str, parameters: &[Parameter], sentence: &str) {
        if !parameters.is_empty() {
            self.add(format!("{path}.parameters"), sentence);
        }
    }

    /// A one-time code: short, and the same in the body and in the button.
    fn code(&mut self, path: &str, text: &str, parts: &Parts<'_>) {
        let field = format!("{path}.parameters[0].text");
        let length = text.chars().count();
        if text.trim().is_empty() {
            return self.add(field, "This must not be empty.");
        }
        if length > CODE_MAX {
            self.add(field.clone(), format!("A code has at most {CODE_MAX} characters; this one has {length}."));
        }
        // Without a body its own complaint is enough.
        if let Some((_, [Parameter::Text { text: in_body, .. }])) = &parts.body
            && in_body != text
        {
            self.add(field, "The code in the button must be the one in the body.");
        }
    }

    fn offer(&mut self, base: &str, pattern: &Pattern, given: Option<&(String, &[Parameter])>) {
        match (pattern.offer, given) {
            (None, Some((path, _))) => self.add(path, "The template has no limited-time offer."),
            (Some(offer), None) if offer.expires => self.add(
                base,
                "The offer's end is shown: add a component of the type limited_time_offer with expiration_time_ms.",
            ),
            (Some(_), Some((path, parameters))) => match parameters {
                [Parameter::LimitedTimeOffer { .. }] => {}
                _ => self.add(format!("{path}.parameters"), "This takes one parameter of the type limited_time_offer."),
            },
            _ => {}
        }
    }

    fn cards(&mut self, base: &str, pattern: &Pattern, given: Option<&(String, &[Card])>) {
        let approved = pattern.cards.len();
        let (path, cards) = match given {
            None if approved == 0 => return,
            None => {
                return self.add(
                    base,
                    format!("The template is a carousel of {approved} cards: add a component of the type carousel."),
                );
            }
            Some((path, _)) if approved == 0 => return self.add(path, "The template is no carousel."),
            Some((path, cards)) => (path, *cards),
        };
        let products = pattern.cards.iter().all(|card| card.header == Some(Header::Product));
        if products && !PRODUCT_CARDS.contains(&cards.len()) {
            let (least, most) = (PRODUCT_CARDS.start(), PRODUCT_CARDS.end());
            let sentence = format!("A carousel of products shows {least} to {most} cards; these are {}.", cards.len());
            self.add(format!("{path}.cards"), sentence);
        } else if !products && cards.len() != approved {
            let sentence = format!("The template has {approved} cards; these are {}.", cards.len());
            self.add(format!("{path}.cards"), sentence);
        }
        let mut seen = BTreeSet::new();
        for (at, card) in cards.iter().enumerate() {
            let here = format!("{path}.cards[{at}]");
            let index = usize::from(card.card_index);
            if !seen.insert(index) {
                self.add(format!("{here}.card_index"), "There is already a card with this index.");
            } else if index >= cards.len() {
                self.add(format!("{here}.card_index"), "Cards are numbered from 0, without gaps.");
            }
            // All cards of a carousel of products are alike.
            let like =
                if products { pattern.cards.get(index).or(pattern.cards.last()) } else { pattern.cards.get(index) };
            if let Some(like) = like {
                self.parts(&format!("{here}.components"), like, &card.components, true);
            }
        }
    }
}

/// "3 variables ({{1}}, {{2}}, {{3}})"
fn counted(names: &[String]) -> String {
    let shown: Vec<String> = names.iter().take(20).map(|name| format!("{{{{{name}}}}}")).collect();
    let more = if names.len() > shown.len() { ", …" } else { "" };
    match names.len() {
        1 => format!("one variable ({})", shown.concat()),
        n => format!("{n} variables ({}{more})", shown.join(", ")),
    }
}
