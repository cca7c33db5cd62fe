//! Reads and checks what a message says, from the fields of a send body. Limits are Meta's
//! (<https://developers.facebook.com/docs/whatsapp/cloud-api/reference/messages>); where WAHA has none they hold too.

use chrono::NaiveDate;
use serde_json::Value;

use super::body::{
    Action, Address, Body, ButtonKind, Card, Component, Contact, ContactName, Currency, DateTime, Email, Language,
    Location, Media, MediaSource, Offer, Org, Parameter, Phone, Product, ProductItem, Section, Template, Text, Url,
};
use crate::fields::Object;

/// Characters of a text message.
pub const TEXT_MAX: usize = 4_096;
pub const CAPTION_MAX: usize = 1_024;
pub const LINK_MAX: usize = 2_000;
pub const FILENAME_MAX: usize = 240;
/// Of ids, names and other short texts.
pub const SHORT_MAX: usize = 300;
pub const CONTACTS_MAX: usize = 257;
/// Phones, addresses and the like of one contact.
pub const ENTRIES_MAX: usize = 20;
pub const TEMPLATE_NAME_MAX: usize = 512;
pub const LANGUAGE_MAX: usize = 35;
/// Header, body, ten buttons, carousel and offer.
pub const COMPONENTS_MAX: usize = 14;
pub const PARAMETERS_MAX: usize = 100;
/// Of one variable, when the template has nothing but a body.
pub const PARAMETER_MAX: usize = 32_768;
pub const CARDS_MAX: usize = 10;
pub const BUTTON_INDEX_MAX: i64 = 9;
pub const SECTIONS_MAX: usize = 10;
/// Products in all sections together.
pub const PRODUCTS_MAX: usize = 30;
pub const SECTION_TITLE_MAX: usize = 24;
pub const COUPON_MAX: usize = 15;
pub const PAYLOAD_MAX: usize = 1_000;

/// The content: `message` for a text, or `type` and an object of that name. `None` after a complaint; a body may also
/// come together with complaints.
pub fn body(object: &mut Object) -> Option<Body> {
    object.forget_nulls(&Body::KINDS);
    object.forget_nulls(&["message"]);
    let typed = object.has("type");
    let kind = object.optional_choice("type", &Body::KINDS, |text| Body::KINDS.into_iter().find(|kind| *kind == text));
    if typed && kind.is_none() {
        // One complaint is enough.
        for field in Body::KINDS.into_iter().chain(["message"]) {
            object.value(field);
        }
        return None;
    }
    if object.has("message") && kind.is_none_or(|kind| kind == "text") && !object.has("text") {
        let text = filled_text(object, "message", TEXT_MAX);
        return Some(Body::text(text));
    }
    // As in Meta's API, a text needs no `type`.
    let kind = match kind {
        Some(kind) => kind,
        None if object.has("text") => "text",
        None => {
            object.complain("message", "Write a message, or a type and an object of that name.");
            return None;
        }
    };
    match kind {
        "text" => object.object("text", text).map(Body::Text),
        "image" => object.object("image", |media_| media(media_, Extras::Caption)).flatten().map(Body::Image),
        "video" => object.object("video", |media_| media(media_, Extras::Caption)).flatten().map(Body::Video),
        "audio" => object.object("audio", |media_| media(media_, Extras::None)).flatten().map(Body::Audio),
        "document" => object.object("document", |media_| media(media_, Extras::Filename)).flatten().map(Body::Document),
        "sticker" => object.object("sticker", |media_| media(media_, Extras::None)).flatten().map(Body::Sticker),
        "location" => object.object("location", location).map(Body::Location),
        "contacts" => Some(Body::Contacts(object.objects("contacts", 1..=CONTACTS_MAX, contact))),
        _ => object.object("template", template).flatten().map(Body::Template),
    }
}

/// A text of more than blanks.
fn filled_text(object: &mut Object, field: &'static str, most: usize) -> String {
    let text = object.text_up_to(field, most);
    if !text.is_empty() && text.trim().is_empty() {
        object.complain(field, "This must not be blank.");
    }
    text
}

fn text(object: &mut Object) -> Text {
    Text {
        body: filled_text(object, "body", TEXT_MAX),
        preview_url: object.optional_bool("preview_url").unwrap_or(false),
    }
}

/// What a medium may carry besides itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extras {
    None,
    Caption,
    /// And a caption.
    Filename,
}

fn media(object: &mut Object, extras: Extras) -> Option<Media> {
    let link = object.optional_text("link");
    let id = object.optional_text_up_to("id", SHORT_MAX);
    let caption = match extras {
        Extras::None => None,
        _ => object.optional_text_up_to("caption", CAPTION_MAX),
    };
    let filename = match extras {
        Extras::Filename => object.optional_text_up_to("filename", FILENAME_MAX),
        _ => None,
    };
    let source = match (link, id) {
        (Some(link), None) => match check_link(&link) {
            Ok(()) => MediaSource::Link(link),
            Err(why) => {
                object.complain("link", why);
                return None;
            }
        },
        (None, Some(id)) if !id.trim().is_empty() => MediaSource::Id(id),
        (None, Some(_)) => {
            object.complain("id", "This must not be empty.");
            return None;
        }
        (None, None) => {
            object.complain("link", "Give a link or an id.");
            return None;
        }
        (Some(_), Some(_)) => {
            object.complain("id", "Give a link or an id, not both.");
            return None;
        }
    };
    Some(Media { source, caption, filename })
}

/// The provider fetches it, over https.
fn check_link(link: &str) -> Result<(), &'static str> {
    let Some(rest) = link.get(..8).filter(|scheme| scheme.eq_ignore_ascii_case("https://")).map(|_| &link[8..]) else {
        return Err("Write an address that begins with https://.");
    };
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if host.is_empty()
        || link.contains(|c: char| c.is_whitespace() || c.is_control() || matches!(c, '<' | '>' | '"' | '\\'))
    {
        return Err("This is no address: write it like https://shop.example/picture.jpg.");
    }
    if host.contains('@') {
        return Err("An address with a name or password in it would be shown to others. Leave them out.");
    }
    if link.len() > LINK_MAX {
        return Err("An address has at most 2,000 characters.");
    }
    Ok(())
}

fn location(object: &mut Object) -> Location {
    Location {
        latitude: object.number("latitude", -90.0..=90.0),
        longitude: object.number("longitude", -180.0..=180.0),
        name: object.optional_text_up_to("name", CAPTION_MAX),
        address: object.optional_text_up_to("address", CAPTION_MAX),
    }
}

fn contact(object: &mut Object) -> Contact {
    let name = object.object("name", |name| ContactName {
        formatted_name: name.text_up_to("formatted_name", SHORT_MAX),
        first_name: short(name, "first_name"),
        last_name: short(name, "last_name"),
        middle_name: short(name, "middle_name"),
        prefix: short(name, "prefix"),
        suffix: short(name, "suffix"),
    });
    let birthday = short(object, "birthday");
    if birthday.as_ref().is_some_and(|day| day.len() != 10 || day.parse::<NaiveDate>().is_err()) {
        object.complain("birthday", "Write the day like 1990-05-03.");
    }
    Contact {
        name: name.unwrap_or_default(),
        phones: object.optional_objects("phones", 0..=ENTRIES_MAX, |phone| Phone {
            phone: phone.text_up_to("phone", SHORT_MAX),
            r#type: short(phone, "type"),
            wa_id: short(phone, "wa_id"),
        }),
        emails: object.optional_objects("emails", 0..=ENTRIES_MAX, |email| Email {
            email: email.text_up_to("email", SHORT_MAX),
            r#type: short(email, "type"),
        }),
        addresses: object.optional_objects("addresses", 0..=ENTRIES_MAX, |address| Address {
            street: short(address, "street"),
            city: short(address, "city"),
            state: short(address, "state"),
            zip: short(address, "zip"),
            country: short(address, "country"),
            country_code: short(address, "country_code"),
            r#type: short(address, "type"),
        }),
        urls: object.optional_objects("urls", 0..=ENTRIES_MAX, |url| Url {
            url: url.text_up_to("url", LINK_MAX),
            r#type: short(url, "type"),
        }),
        org: object.optional_object("org", |org| Org {
            company: short(org, "company"),
            department: short(org, "department"),
            title: short(org, "title"),
        }),
        birthday,
    }
}

fn short(object: &mut Object, field: &'static str) -> Option<String> {
    object.optional_text_up_to(field, SHORT_MAX)
}

fn template(object: &mut Object) -> Option<Template> {
    let name = object.text_up_to("name", TEMPLATE_NAME_MAX);
    let code = object.object("language", |language| {
        // Meta's older examples carry it; it is the only policy there ever was.
        language.optional_choice("policy", &["deterministic"], |policy| (policy == "deterministic").then_some(()));
        language.text_up_to("code", LANGUAGE_MAX)
    });
    let components =
        object.optional_objects("components", 0..=COMPONENTS_MAX, |component_| component(component_, true));
    let components = components.into_iter().collect::<Option<Vec<_>>>();
    Some(Template { name, language: Language { code: code? }, components: components? })
}

const COMPONENTS: [&str; 5] = ["header", "body", "button", "carousel", "limited_time_offer"];
const CARD_COMPONENTS: [&str; 3] = ["header", "body", "button"];

/// A component; cards of a carousel have no carousel of their own.
fn component(object: &mut Object, outer: bool) -> Option<Component> {
    let words: &[&'static str] = if outer { &COMPONENTS } else { &CARD_COMPONENTS };
    let find = |text: &str| words.iter().find(|word| word.eq_ignore_ascii_case(text)).copied();
    object.forget_nulls(&["sub_type", "index", "parameters", "cards"]);
    match sort(object, words, find)? {
        "header" => Some(Component::Header { parameters: parameters(object)? }),
        "body" => Some(Component::Body { parameters: parameters(object)? }),
        "limited_time_offer" => Some(Component::LimitedTimeOffer { parameters: parameters(object)? }),
        "carousel" => {
            let cards = object.objects("cards", 1..=CARDS_MAX, |card| {
                let card_index = card.int("card_index", 0..=CARDS_MAX as i64 - 1);
                let components = card.objects("components", 0..=COMPONENTS_MAX, |inner| component(inner, false));
                let components = components.into_iter().collect::<Option<Vec<_>>>();
                Some(Card { card_index: u8::try_from(card_index?).ok()?, components: components? })
            });
            Some(Component::Carousel { cards: cards.into_iter().collect::<Option<_>>()? })
        }
        _ => {
            let sub_type = object.choice("sub_type", &ButtonKind::ALL.map(ButtonKind::as_str), ButtonKind::parse);
            let index = index(object);
            let parameters = parameters(object);
            Some(Component::Button { sub_type: sub_type?, index: index?, parameters: parameters? })
        }
    }
}

/// The field `type`. Without it nobody can say which other fields there may be.
fn sort<'a>(
    object: &mut Object,
    words: &[&'static str],
    find: impl FnOnce(&str) -> Option<&'a str>,
) -> Option<&'a str> {
    let found = object.choice("type", words, find);
    if found.is_none() {
        object.rest();
    }
    found
}

/// The place of a button, as a number or, as in Meta's reference, a text.
fn index(object: &mut Object) -> Option<u8> {
    let index = match object.value("index") {
        None => {
            object.complain("index", "This is required.");
            return None;
        }
        Some(Value::String(text)) => text.parse().ok(),
        Some(value) => value.as_i64(),
    };
    let index = index.filter(|index| (0..=BUTTON_INDEX_MAX).contains(index)).and_then(|index| u8::try_from(index).ok());
    if index.is_none() {
        object.complain("index", "This must be a whole number from 0 to 9.");
    }
    index
}

fn parameters(object: &mut Object) -> Option<Vec<Parameter>> {
    object.optional_objects("parameters", 0..=PARAMETERS_MAX, parameter).into_iter().collect()
}

const PARAMETERS: [&str; 12] = [
    "text",
    "currency",
    "date_time",
    "image",
    "video",
    "document",
    "location",
    "product",
    "payload",
    "coupon_code",
    "limited_time_offer",
    "action",
];

fn parameter(object: &mut Object) -> Option<Parameter> {
    let find = |text: &str| PARAMETERS.iter().find(|word| word.eq_ignore_ascii_case(text)).copied();
    object.forget_nulls(&PARAMETERS);
    object.forget_nulls(&["parameter_name"]);
    let kind = sort(object, &PARAMETERS, find)?;
    let parameter_name = match kind {
        "text" | "currency" | "date_time" => short(object, "parameter_name"),
        _ => None,
    };
    Some(match kind {
        "text" => Parameter::Text { text: object.text_up_to("text", PARAMETER_MAX), parameter_name },
        "currency" => Parameter::Currency { currency: object.object("currency", currency)??, parameter_name },
        "date_time" => Parameter::DateTime { date_time: object.object("date_time", date_time)?, parameter_name },
        "image" => Parameter::Image { image: object.object("image", |image| media(image, Extras::None))?? },
        "video" => Parameter::Video { video: object.object("video", |video| media(video, Extras::None))?? },
        "document" => {
            Parameter::Document { document: object.object("document", |document| media(document, Extras::Filename))?? }
        }
        "location" => Parameter::Location { location: object.object("location", location)? },
        "product" => Parameter::Product {
            product: object.object("product", |product| Product {
                product_retailer_id: product.text_up_to("product_retailer_id", SHORT_MAX),
                catalog_id: product.text_up_to("catalog_id", SHORT_MAX),
            })?,
        },
        "payload" => Parameter::Payload { payload: object.text_up_to("payload", PAYLOAD_MAX) },
        "coupon_code" => Parameter::CouponCode { coupon_code: object.text_up_to("coupon_code", COUPON_MAX) },
        "limited_time_offer" => Parameter::LimitedTimeOffer {
            limited_time_offer: object.object("limited_time_offer", |offer| {
                Some(Offer { expiration_time_ms: offer.int("expiration_time_ms", 0..=i64::MAX)? })
            })??,
        },
        _ => Parameter::Action { action: object.object("action", action)? },
    })
}

fn currency(object: &mut Object) -> Option<Currency> {
    let fallback_value = object.text_up_to("fallback_value", SHORT_MAX);
    let code = object.text_up_to("code", SHORT_MAX);
    if !code.is_empty() && (code.len() != 3 || !code.bytes().all(|b| b.is_ascii_uppercase())) {
        object.complain("code", "Write the currency's code in ISO 4217, such as EUR.");
    }
    let amount_1000 = object.int("amount_1000", i64::MIN..=i64::MAX)?;
    Some(Currency { fallback_value, code, amount_1000 })
}

fn date_time(object: &mut Object) -> DateTime {
    DateTime {
        fallback_value: object.text_up_to("fallback_value", SHORT_MAX),
        calendar: object.optional_choice("calendar", &["GREGORIAN", "SOLAR_HIJRI"], |word| {
            matches!(word, "GREGORIAN" | "SOLAR_HIJRI").then(|| word.to_owned())
        }),
        day_of_week: object.optional_int("day_of_week", 1..=7),
        year: object.optional_int("year", 0..=9_999),
        month: object.optional_int("month", 1..=12),
        day_of_month: object.optional_int("day_of_month", 1..=31),
        hour: object.optional_int("hour", 0..=23),
        minute: object.optional_int("minute", 0..=59),
    }
}

fn action(object: &mut Object) -> Action {
    let sections = object.optional_objects("sections", 1..=SECTIONS_MAX, |section| Section {
        title: section.text_up_to("title", SECTION_TITLE_MAX),
        product_items: section.objects("product_items", 1..=PRODUCTS_MAX, |item| ProductItem {
            product_retailer_id: item.text_up_to("product_retailer_id", SHORT_MAX),
        }),
    });
    let products: usize = sections.iter().map(|section| section.product_items.len()).sum();
    if products > PRODUCTS_MAX {
        object.complain("sections", format!("At most {PRODUCTS_MAX} products in all; these are {products}."));
    }
    Action {
        thumbnail_product_retailer_id: short(object, "thumbnail_product_retailer_id"),
        sections,
        flow_token: short(object, "flow_token"),
        flow_action_data: object.optional_object("flow_action_data", Object::rest).map(Value::Object),
    }
}

#[cfg(test)]
mod tests;
