//! What Meta's error codes mean for a message
//! (<https://developers.facebook.com/docs/whatsapp/cloud-api/support/error-codes>).

/// What becomes of the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handling {
    /// It was not taken; later it may be.
    Retry,
    /// It will never be taken like this.
    Permanent,
    /// Nothing of this number is taken until somebody mends the account, the token or the registration.
    Account,
}

/// Too many messages to one recipient in a short time.
pub const PAIR_LIMIT: i64 = 131_056;

/// Whether Meta works and only wants less of us.
pub fn is_throttling(code: i64) -> bool {
    matches!(code, 4 | 80_007 | 130_429 | 131_048 | PAIR_LIMIT | 131_064 | 132_069 | 133_016)
}

/// `None`: a code that is not known, of which the status must tell.
pub fn handling(code: i64) -> Option<Handling> {
    use Handling::{Account, Permanent, Retry};
    Some(match code {
        // 1 and 2: unknown error and outage of the Graph API; 4: too many calls; 80007, 130429: throughput;
        // 131048: spam limit; 131064: messaging limit; 131000, 131016: something went wrong; 131057: maintenance;
        // 133016: registrations; 132069: flow throttled.
        1 | 2 | 4 | 80_007 | 130_429 | 131_000 | 131_016 | 131_048 | PAIR_LIMIT | 131_057 | 131_064 | 133_016
        | 132_069 => Retry,
        // 0, 190: token; 3, 10, 200–299: permissions; 368, 131031: account blocked; 131005: access denied;
        // 131037: display name; 131042, 131044: payment; 131045: certificate; 133000–133015: registration.
        0
        | 3
        | 10
        | 190
        | 200..=299
        | 368
        | 131_005
        | 131_031
        | 131_037
        | 131_042
        | 131_044
        | 131_045
        | 133_000..=133_015 => Account,
        // 33, 100: parameters; 130472: experiment; 130497: country; 131008–131053: the message or its recipient;
        // 132xxx: the template; 135000: generic; 137000: the recipient's identity changed.
        33
        | 100
        | 130_472
        | 130_497
        | 131_008
        | 131_009
        | 131_020
        | 131_021
        | 131_026
        | 131_030
        | 131_041
        | 131_047
        | 131_049..=131_053
        | 131_062
        | 131_063
        | 132_000..=132_068
        | 135_000
        | 137_000 => Permanent,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Codes that sending a message can be answered with, from the catalogue of error codes.
    #[test]
    fn every_known_code_of_sending_has_its_handling() {
        for code in [
            0, 3, 4, 10, 190, 368, 80_007, 130_429, 130_472, 130_497, 131_000, 131_005, 131_008, 131_009, 131_016,
            131_020, 131_021, 131_026, 131_030, 131_031, 131_037, 131_041, 131_042, 131_044, 131_045, 131_047, 131_048,
            131_049, 131_050, 131_051, 131_052, 131_053, 131_056, 131_057, 131_062, 131_063, 131_064, 132_000, 132_001,
            132_005, 132_007, 132_008, 132_012, 132_015, 132_016, 132_068, 132_069, 133_016, 135_000, 137_000,
        ] {
            assert!(handling(code).is_some(), "{code}");
        }
        assert_eq!(handling(999_999), None);
    }
}
