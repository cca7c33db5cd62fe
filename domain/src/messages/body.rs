//! What a message says. Names of fields are those of Meta's send payloads
//! (<https://developers.facebook.com/docs/whatsapp/cloud-api/reference/messages>), so that an example from there works
//! as it stands; `read.rs` reads and checks them.
//!
//! As JSON a body is an object with one field, named as its type: `{"text":{"body":"Hi"}}`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The content of a message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Body {
    Text(Text),
    Image(Media),
    Video(Media),
    Audio(Media),
    Document(Media),
    Sticker(Media),
    Location(Location),
    Contacts(Vec<Contact>),
    Template(Template),
}

impl Body {
    /// Names of all types, as in the field `type`.
    pub const KINDS: [&'static str; 9] =
        ["text", "image", "video", "audio", "document", "sticker", "location", "contacts", "template"];

    /// A text without anything else.
    pub fn text(body: impl Into<String>) -> Self {
        Self::Text(Text { body: body.into(), preview_url: false })
    }

    /// The type's name, as in the field `type`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "text",
            Self::Image(_) => "image",
            Self::Video(_) => "video",
            Self::Audio(_) => "audio",
            Self::Document(_) => "document",
            Self::Sticker(_) => "sticker",
            Self::Location(_) => "location",
            Self::Contacts(_) => "contacts",
            Self::Template(_) => "template",
        }
    }

    /// The template, when it is one.
    pub fn template(&self) -> Option<&Template> {
        match self {
            Self::Template(template) => Some(template),
            _ => None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Text {
    /// At most 4,096 characters.
    pub body: String,
    /// Show a preview of the first link.
    #[serde(default)]
    pub preview_url: bool,
}

/// An image, video, audio, document or sticker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Media {
    #[serde(flatten)]
    pub source: MediaSource,
    /// At most 1,024 characters; not with audio and stickers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caption: Option<String>,
    /// Documents only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filename: Option<String>,
}

/// Where the provider finds it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MediaSource {
    /// An https address.
    Link(String),
    /// The id of something uploaded to the provider before.
    Id(String),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Location {
    /// Degrees, -90 to 90.
    pub latitude: f64,
    /// Degrees, -180 to 180.
    pub longitude: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
}

/// A contact card.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Contact {
    pub name: ContactName,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub phones: Vec<Phone>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub emails: Vec<Email>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<Address>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<Url>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub org: Option<Org>,
    /// `YYYY-MM-DD`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub birthday: Option<String>,
}

macro_rules! texts {
    ($(#[$doc:meta])* $name:ident { $($required:ident),* ; $($optional:ident),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
        pub struct $name {
            $(pub $required: String,)*
            $(
                #[serde(default, skip_serializing_if = "Option::is_none")]
                pub $optional: Option<String>,
            )*
        }
    };
}

texts! {
    /// The name of a contact.
    ContactName { formatted_name; first_name, last_name, middle_name, prefix, suffix }
}
texts! {
    /// A phone number of a contact.
    Phone { phone; r#type, wa_id }
}
texts! { Email { email; r#type } }
texts! { Url { url; r#type } }
texts! { Address { ; street, city, state, zip, country, country_code, r#type } }
texts! { Org { ; company, department, title } }

/// A template, and what is filled into it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Template {
    pub name: String,
    pub language: Language,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub components: Vec<Component>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Language {
    /// Such as `en_US`.
    pub code: String,
}

/// What is filled into one part of a template.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Component {
    Header {
        parameters: Vec<Parameter>,
    },
    Body {
        parameters: Vec<Parameter>,
    },
    Button {
        sub_type: ButtonKind,
        /// Position among the template's buttons, from 0.
        #[serde(with = "index_text")]
        index: u8,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        parameters: Vec<Parameter>,
    },
    Carousel {
        cards: Vec<Card>,
    },
    LimitedTimeOffer {
        parameters: Vec<Parameter>,
    },
}

/// Button parameters by what the button does. Written as Meta's documents write them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ButtonKind {
    #[serde(rename = "quick_reply")]
    QuickReply,
    #[serde(rename = "url")]
    Url,
    #[serde(rename = "COPY_CODE")]
    CopyCode,
    #[serde(rename = "CATALOG")]
    Catalog,
    #[serde(rename = "mpm")]
    Mpm,
    #[serde(rename = "flow")]
    Flow,
}

impl ButtonKind {
    pub const ALL: [Self; 6] = [Self::QuickReply, Self::Url, Self::CopyCode, Self::Catalog, Self::Mpm, Self::Flow];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::QuickReply => "quick_reply",
            Self::Url => "url",
            Self::CopyCode => "COPY_CODE",
            Self::Catalog => "CATALOG",
            Self::Mpm => "mpm",
            Self::Flow => "flow",
        }
    }

    /// Upper or lower case: Meta's own examples use both.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str().eq_ignore_ascii_case(text))
    }
}

/// One card of a carousel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Card {
    /// Position in the carousel, from 0.
    pub card_index: u8,
    /// Header, body and buttons.
    pub components: Vec<Component>,
}

/// What is filled in for one variable, or one medium.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Parameter {
    Text {
        text: String,
        /// With templates whose variables have names.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        parameter_name: Option<String>,
    },
    Currency {
        currency: Currency,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        parameter_name: Option<String>,
    },
    DateTime {
        date_time: DateTime,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        parameter_name: Option<String>,
    },
    Image {
        image: Media,
    },
    Video {
        video: Media,
    },
    Document {
        document: Media,
    },
    Location {
        location: Location,
    },
    Product {
        product: Product,
    },
    Payload {
        payload: String,
    },
    CouponCode {
        coupon_code: String,
    },
    LimitedTimeOffer {
        limited_time_offer: Offer,
    },
    Action {
        action: Action,
    },
}

impl Parameter {
    /// The name in the field `type`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Text { .. } => "text",
            Self::Currency { .. } => "currency",
            Self::DateTime { .. } => "date_time",
            Self::Image { .. } => "image",
            Self::Video { .. } => "video",
            Self::Document { .. } => "document",
            Self::Location { .. } => "location",
            Self::Product { .. } => "product",
            Self::Payload { .. } => "payload",
            Self::CouponCode { .. } => "coupon_code",
            Self::LimitedTimeOffer { .. } => "limited_time_offer",
            Self::Action { .. } => "action",
        }
    }

    /// The variable's name, for parameters that stand for a variable.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Text { parameter_name, .. }
            | Self::Currency { parameter_name, .. }
            | Self::DateTime { parameter_name, .. } => parameter_name.as_deref(),
            _ => None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Currency {
    /// Shown where the amount cannot be written in the reader's way.
    pub fallback_value: String,
    /// ISO 4217, such as `EUR`.
    pub code: String,
    /// The amount times 1,000.
    pub amount_1000: i64,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct DateTime {
    pub fallback_value: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calendar: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub day_of_week: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub year: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub month: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub day_of_month: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hour: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minute: Option<i64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Product {
    pub product_retailer_id: String,
    pub catalog_id: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// Milliseconds since the epoch.
    pub expiration_time_ms: i64,
}

/// What a catalog, multi-product or flow button does.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Action {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thumbnail_product_retailer_id: Option<String>,
    /// At most 10 sections and 30 products in all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sections: Vec<Section>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flow_token: Option<String>,
    /// The flow's own data, an object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flow_action_data: Option<Value>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Section {
    pub title: String,
    pub product_items: Vec<ProductItem>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProductItem {
    pub product_retailer_id: String,
}

/// Meta's reference has the button's index as a text.
mod index_text {
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(index: &u8, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(index)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u8, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
