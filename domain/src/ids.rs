//! Ids as people see them: TypeID 0.3 (<https://github.com/jetify-com/typeid/tree/main/spec>), a prefix and a UUIDv7
//! in Crockford's base32, such as `key_01jd3qz5k8e9rb1w0c5m2n6x7y`. Sortable by time, and no two kinds can be mixed up.

use std::{fmt, str::FromStr};

use uuid::Uuid;

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// 128 bits as 26 characters of base32, most significant first.
fn encode(id: Uuid) -> [u8; 26] {
    let bits = id.as_u128();
    let mut text = [0; 26];
    // In halves of twelve characters, because shifting 128 bits is slow.
    for (from, to, mut part) in [(14, 26, bits as u64), (2, 14, (bits >> 60) as u64), (0, 2, (bits >> 120) as u64)] {
        for character in text[from..to].iter_mut().rev() {
            *character = ALPHABET[(part & 31) as usize];
            part >>= 5;
        }
    }
    text
}

/// The characters of the alphabet are ASCII.
fn shown(text: &[u8; 26]) -> &str {
    std::str::from_utf8(text).unwrap_or_default()
}

fn decode(text: &str) -> Option<Uuid> {
    // 26 × 5 = 130 bits: the first character may only carry three of them.
    if text.len() != 26 || text.as_bytes()[0] > b'7' {
        return None;
    }
    text.bytes()
        .try_fold(0u128, |bits, byte| {
            let value = ALPHABET.iter().position(|&c| c == byte)?;
            Some(bits << 5 | value as u128)
        })
        .map(Uuid::from_u128)
}

/// The text is not an id of the expected kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an id of this kind starts with {0}_")]
pub struct BadId(pub &'static str);

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub Uuid);

        impl $name {
            pub const PREFIX: &'static str = $prefix;

            /// A fresh id; later ids sort after earlier ones.
            #[cfg(feature = "postgres")]
            pub fn new() -> Self {
                Self(Uuid::now_v7())
            }
        }

        #[cfg(feature = "postgres")]
        impl Default for $name {
            fn default() -> Self {
                Self::new()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!($prefix, "_"))?;
                f.write_str(shown(&encode(self.0)))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = BadId;

            fn from_str(text: &str) -> Result<Self, BadId> {
                text.strip_prefix(concat!($prefix, "_"))
                    .and_then(decode)
                    .map(Self)
                    .ok_or(BadId($prefix))
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

id!(/// An organization: the tenant.
    OrgId, "org");
id!(/// An API key.
    KeyId, "key");
id!(/// One secret of an API key; a key has two while it is being rotated.
    SecretId, "sec");
id!(/// A person who signs in.
    PersonId, "per");
id!(/// An invitation into an organization.
    InvitationId, "inv");
id!(/// A connected WhatsApp number.
    InstanceId, "ins");
id!(/// An outbound message.
    MessageId, "msg");
id!(/// A message that somebody wrote to us.
    InboundId, "inm");
id!(/// A conversation with one contact on one instance.
    ConversationId, "cnv");
id!(/// A template of an instance.
    TemplateId, "tpl");
id!(/// A webhook endpoint.
    EndpointId, "whk");
id!(/// Something that happened.
    EventId, "evt");
id!(/// One event for one webhook endpoint.
    DeliveryId, "dlv");
id!(/// One HTTP try of a delivery.
    AttemptId, "att");
id!(/// A background job.
    JobId, "job");
id!(/// One API call, as in the header `X-Request-Id`.
    RequestId, "req");

impl RequestId {
    /// The id of a call that arrives at this moment. Without a lock or a system call, unlike [`RequestId::new`]:
    /// ids of one process sort by time to a quarter of a microsecond (RFC 9562, section 6.2, method 3).
    #[cfg(feature = "postgres")]
    pub fn at(at: crate::time::Time) -> Self {
        use rand::RngExt;
        let millis = u128::from(at.timestamp_millis().unsigned_abs()) & 0xffff_ffff_ffff;
        let fraction = u128::from(at.timestamp_subsec_nanos() % 1_000_000) * 4_096 / 1_000_000;
        let random = u128::from(rand::rng().random::<u64>() >> 2);
        Self(Uuid::from_u128(millis << 80 | 0x7 << 76 | fraction << 64 | 0b10 << 62 | random))
    }

    /// The same as its text, without taking memory for it.
    pub fn to_ascii(self) -> [u8; 30] {
        let mut text = *b"req_00000000000000000000000000";
        text[4..].copy_from_slice(&encode(self.0));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "postgres")]
    #[test]
    fn ids_of_calls_are_version_7_and_sort_by_time() {
        use chrono::{TimeZone, Utc};
        let moment = |nanos| Utc.timestamp_opt(1_800_000_000, nanos).unwrap();
        let id = RequestId::at(moment(123_456_789)).0;
        assert_eq!((id.get_version_num(), id.get_variant()), (7, uuid::Variant::RFC4122));
        let (seconds, nanos) = id.get_timestamp().unwrap().to_unix();
        assert_eq!((seconds, nanos / 1_000_000), (1_800_000_000, 123));
        assert!(RequestId::at(moment(123_456_000)) < RequestId::at(moment(123_457_000)));
        assert!(RequestId::at(moment(123_999_999)) < RequestId::at(moment(124_000_000)));
        assert_ne!(RequestId::at(moment(1)), RequestId::at(moment(1)));
        assert_eq!(RequestId(id).to_ascii(), RequestId(id).to_string().as_bytes());
    }

    /// Vectors of the TypeID specification, `spec/valid.yml`.
    #[test]
    fn encodes_the_published_vectors() {
        let vectors = [
            ("00000000000000000000000000", "00000000-0000-0000-0000-000000000000"),
            ("0000000000000000000000000g", "00000000-0000-0000-0000-000000000010"),
            ("7zzzzzzzzzzzzzzzzzzzzzzzzz", "ffffffff-ffff-ffff-ffff-ffffffffffff"),
            ("01h455vb4pex5vsknk084sn02q", "01890a5d-ac96-774b-bcce-b302099a8057"),
        ];
        for (text, uuid) in vectors {
            let uuid: Uuid = uuid.parse().unwrap();
            assert_eq!(shown(&encode(uuid)), text);
            assert_eq!(decode(text), Some(uuid));
        }
    }

    #[test]
    fn refuses_what_is_not_an_id() {
        for text in [
            "",
            "key_",
            "org_01h455vb4pex5vsknk084sn02q",
            "key_81h455vb4pex5vsknk084sn02q",
            "key_01H455VB4PEX5VSKNK084SN02Q",
            "key_01h455vb4pex5vsknk084sn02é",
        ] {
            assert!(text.parse::<KeyId>().is_err(), "{text}");
        }
    }
}
