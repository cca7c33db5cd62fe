//! Rows of the request log in the form in which Postgres takes them fastest: the body of a binary `COPY`
//! (<https://www.postgresql.org/docs/current/sql-copy.html>, "Binary Format").
//!
//! A call writes its row here once, and the bytes go to the database as they are: nothing is built again for a batch.

use std::net::IpAddr;

use super::RequestRow;
use crate::{ids::SecretId, time::Time};

/// What a [`Rows`] is sent to.
pub const COPY: &str = "copy request_log (id, at, organization_id, key_id, secret_id, method, endpoint, status, outcome, scope, ip, \
                        user_agent, latency_us) from stdin (format binary)";
const COLUMNS: i16 = 13;
/// Signature, flags, length of the header's extension.
const HEADER: &[u8; 19] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const TRAILER: i16 = -1;
/// About the length of a row, to make room in advance.
const USUAL_ROW: usize = 208;
/// 2000-01-01 in microseconds since 1970: from here Postgres counts.
const POSTGRES_EPOCH_US: i64 = 946_684_800_000_000;

/// Rows that wait to be written.
#[derive(Debug, Default)]
pub struct Rows {
    bytes: Vec<u8>,
    count: usize,
}

impl Rows {
    /// Room for this many rows of the usual length.
    pub fn with_capacity(rows: usize) -> Self {
        Self { bytes: Vec::with_capacity(HEADER.len() + rows * USUAL_ROW + 2), count: 0 }
    }

    /// Adds a row. One that belongs to nobody is left out.
    pub fn push(&mut self, row: &RequestRow<'_>) {
        let Some((organization, key, SecretId(secret))) = row.owner else { return };
        if self.bytes.is_empty() {
            self.bytes.extend_from_slice(HEADER);
        }
        self.bytes.extend_from_slice(&COLUMNS.to_be_bytes());
        self.field(row.id.0.as_bytes());
        self.field(&timestamp(row.at).to_be_bytes());
        self.field(organization.0.as_bytes());
        self.field(key.0.as_bytes());
        self.field(secret.as_bytes());
        self.field(row.method.as_bytes());
        self.field(row.endpoint.as_bytes());
        self.field(&row.status.to_be_bytes());
        self.field(row.outcome.as_bytes());
        match row.scope {
            Some(scope) => self.field(scope.as_str().as_bytes()),
            None => self.bytes.extend_from_slice(&(-1i32).to_be_bytes()),
        }
        self.address(row.ip);
        if row.user_agent.contains('\0') {
            // Postgres takes no NUL in a text.
            self.field(row.user_agent.replace('\0', "").as_bytes());
        } else {
            self.field(row.user_agent.as_bytes());
        }
        // The column holds half as much: 36 minutes.
        self.field(&i32::try_from(row.latency_us).unwrap_or(i32::MAX).to_be_bytes());
        self.count += 1;
    }

    fn field(&mut self, value: &[u8]) {
        // No field of a row comes near the two gigabytes that a length can say.
        self.bytes.extend_from_slice(&(value.len() as u32).to_be_bytes());
        self.bytes.extend_from_slice(value);
    }

    /// `inet`: family (2 for IPv4, 3 for IPv6), bits of the network, not a `cidr`, length, address.
    fn address(&mut self, ip: IpAddr) {
        match ip {
            IpAddr::V4(ip) => {
                self.bytes.extend_from_slice(&8u32.to_be_bytes());
                self.bytes.extend_from_slice(&[2, 32, 0, 4]);
                self.bytes.extend_from_slice(&ip.octets());
            }
            IpAddr::V6(ip) => {
                self.bytes.extend_from_slice(&20u32.to_be_bytes());
                self.bytes.extend_from_slice(&[3, 128, 0, 16]);
                self.bytes.extend_from_slice(&ip.octets());
            }
        }
    }

    pub fn len(&self) -> usize {
        self.count
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Forgets the rows but keeps their room.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.count = 0;
    }

    /// Everything before the trailer.
    pub(super) fn body(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn trailer() -> [u8; 2] {
        TRAILER.to_be_bytes()
    }
}

fn timestamp(at: Time) -> i64 {
    at.timestamp_micros() - POSTGRES_EPOCH_US
}
