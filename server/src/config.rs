//! Settings: command-line options that can also be given in the environment. `bouncer --help` lists them all.

use std::{
    io::Write,
    net::SocketAddr,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    str::FromStr,
};

use domain::{keys::token, seal::Sealer, secret::SecretString};
use ipnet::IpNet;

/// An error at start-up, in a sentence for the person at the terminal.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Failure(pub String);

impl Failure {
    pub fn new(sentence: impl Into<String>) -> Self {
        Self(sentence.into())
    }
}

impl From<domain::Error> for Failure {
    fn from(error: domain::Error) -> Self {
        match error {
            domain::Error::Invalid(fields) => {
                Self(fields.into_iter().map(|f| format!("{}: {}", f.field, f.message)).collect::<Vec<_>>().join("\n"))
            }
            other => Self(other.to_string()),
        }
    }
}

#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Settings")]
pub struct Settings {
    /// Where the console and the API listen
    #[arg(long, global = true, env = "BOUNCER_ADDR", default_value = "127.0.0.1:3000", value_name = "ADDRESS")]
    pub addr: SocketAddr,

    /// Where /metrics (Prometheus) listens; "off" for nowhere
    #[arg(long, global = true, env = "BOUNCER_METRICS_ADDR", default_value = "127.0.0.1:9464", value_name = "ADDRESS")]
    pub metrics_addr: MetricsAddr,

    /// Directory of the private Postgres and of the generated secret
    #[arg(long, global = true, env = "BOUNCER_DATA_DIR", default_value = ".bouncer", value_name = "DIRECTORY")]
    pub data_dir: PathBuf,

    /// Postgres to use, as postgres://user:password@host/database; without it a private one is run in the data directory
    #[arg(long, global = true, env = "DATABASE_URL", hide_env_values = true, value_parser = secret, value_name = "URL")]
    pub database_url: Option<SecretString>,

    /// Seals secrets at rest, at least 32 characters; without it one is made once and kept in the data directory
    #[arg(long, global = true, env = "BOUNCER_SECRET", hide_env_values = true, value_parser = secret, value_name = "TEXT")]
    pub secret: Option<SecretString>,

    /// The secret before BOUNCER_SECRET was changed: what it sealed is still read, until `bouncer secrets rotate` is done
    #[arg(long, global = true, env = "BOUNCER_OLD_SECRET", hide_env_values = true, value_parser = secret, value_name = "TEXT")]
    pub old_secret: Option<SecretString>,

    /// The address people and programs use, such as https://bouncer.acme.example; [default: http:// and the address of --addr]
    #[arg(long, global = true, env = "BOUNCER_PUBLIC_URL", value_parser = public_url, value_name = "URL")]
    pub public_url: Option<PublicUrl>,

    /// Networks of the proxies whose X-Forwarded-For is believed, separated by commas; none by default
    #[arg(long, global = true, env = "BOUNCER_TRUSTED_PROXIES", value_parser = network, value_delimiter = ',', value_name = "NETWORKS")]
    pub trusted_proxies: Vec<Network>,

    /// Networks that webhooks may reach besides the public internet, also over http and on any port; none by default
    #[arg(long, global = true, env = "BOUNCER_ALLOW_PRIVATE_WEBHOOKS", value_parser = network, value_delimiter = ',', value_name = "NETWORKS")]
    pub allow_private_webhooks: Vec<Network>,

    /// Networks in which providers such as WAHA may be reached, also over http and on any port; none by default
    #[arg(long, global = true, env = "BOUNCER_ALLOW_PRIVATE_PROVIDERS", value_parser = network, value_delimiter = ',', value_name = "NETWORKS")]
    pub allow_private_providers: Vec<Network>,

    /// What keys begin with: 2 to 12 lower-case letters or digits; must never change once keys are in use
    #[arg(long, global = true, env = "BOUNCER_KEY_PREFIX", default_value = token::DEFAULT_PREFIX, value_parser = key_prefix, value_name = "PREFIX")]
    pub key_prefix: String,

    /// Connections to Postgres that this process may open
    #[arg(long, global = true, env = "BOUNCER_DATABASE_CONNECTIONS", default_value_t = 24, value_parser = clap::value_parser!(u32).range(4..=1000), value_name = "NUMBER")]
    pub database_connections: u32,

    /// How log lines look; RUST_LOG chooses which ones appear, such as RUST_LOG=debug
    #[arg(long, global = true, env = "BOUNCER_LOG", default_value = "text", value_name = "FORM")]
    pub log: LogForm,

    /// Weak password hashes, for tests only.
    #[arg(long, global = true, env = "BOUNCER_CHEAP_PASSWORDS", hide = true, value_parser = clap::builder::FalseyValueParser::new(), action = clap::ArgAction::SetTrue)]
    pub cheap_passwords: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogForm {
    Text,
    Json,
}

/// An address, or nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetricsAddr(pub Option<SocketAddr>);

impl FromStr for MetricsAddr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self(None));
        }
        text.parse().map(|addr| Self(Some(addr))).map_err(|_| "write 127.0.0.1:9464, or off".into())
    }
}

fn secret(text: &str) -> Result<SecretString, std::convert::Infallible> {
    Ok(SecretString::from(text))
}

/// Nothing, or a network. Empty parts come from `BOUNCER_TRUSTED_PROXIES=` and from a comma too many.
#[derive(Debug, Clone, Copy)]
pub struct Network(pub Option<IpNet>);

/// Those of a list that are there.
pub fn networks(list: &[Network]) -> Vec<IpNet> {
    list.iter().filter_map(|network| network.0).collect()
}

fn network(text: &str) -> Result<Network, String> {
    match domain::keys::form::parse_ips(text) {
        Ok(nets) => Ok(Network(nets.first().copied())),
        Err(_) => Err("write addresses or networks, such as 10.0.0.0/8".into()),
    }
}

/// Scheme and authority, without a slash at the end; `None` when the variable is set to nothing.
#[derive(Debug, Clone)]
pub struct PublicUrl(pub Option<String>);

fn public_url(text: &str) -> Result<PublicUrl, String> {
    let url = text.trim().trim_end_matches('/');
    if url.is_empty() {
        return Ok(PublicUrl(None));
    }
    let uri: http::Uri = url.parse().map_err(|_| "write an address such as https://bouncer.acme.example")?;
    let plain = matches!(uri.scheme_str(), Some("http" | "https"))
        && uri.authority().is_some_and(|a| !a.as_str().contains('@'))
        && uri.path() == "/"
        && uri.query().is_none();
    if plain {
        Ok(PublicUrl(Some(url.to_owned())))
    } else {
        Err("write http:// or https:// and a host, without a path".into())
    }
}

fn key_prefix(text: &str) -> Result<String, String> {
    if token::valid_prefix(text) { Ok(text.to_owned()) } else { Err("2 to 12 lower-case letters or digits".into()) }
}

impl Settings {
    /// `https://bouncer.acme.example`, without a slash at the end.
    pub fn public_url(&self) -> String {
        match &self.public_url {
            Some(PublicUrl(Some(url))) => url.clone(),
            _ => {
                // Nobody can open 0.0.0.0; on this machine the loopback address leads to the same place.
                let ip = match self.addr.ip() {
                    ip if ip.is_unspecified() => "127.0.0.1".to_owned(),
                    std::net::IpAddr::V6(ip) => format!("[{ip}]"),
                    ip => ip.to_string(),
                };
                format!("http://{ip}:{}", self.addr.port())
            }
        }
    }

    pub fn trusted_proxies(&self) -> Vec<IpNet> {
        networks(&self.trusted_proxies)
    }

    /// The database's address, unless it is empty.
    pub fn database_url(&self) -> Option<&str> {
        use domain::secret::ExposeSecret;
        self.database_url.as_ref().map(|url| url.expose_secret()).filter(|url| !url.is_empty())
    }

    /// Seals and opens secrets at rest; opens what `BOUNCER_OLD_SECRET` sealed, too.
    ///
    /// # Errors
    /// As [`Settings::sealing_secret`].
    pub fn sealer(&self) -> Result<Sealer, Failure> {
        use domain::secret::ExposeSecret;
        let sealer = Sealer::new(&self.sealing_secret()?);
        Ok(match self.old_secret.as_ref().filter(|old| !old.expose_secret().is_empty()) {
            Some(old) => sealer.and_old(old),
            None => sealer,
        })
    }

    /// The secret that seals others: the given one, or one made once for this data directory.
    ///
    /// # Errors
    /// When it is too short, or the file cannot be read or written.
    pub fn sealing_secret(&self) -> Result<SecretString, Failure> {
        use domain::secret::ExposeSecret;
        let secret = match self.secret.as_ref().filter(|s| !s.expose_secret().is_empty()) {
            Some(secret) => secret.clone(),
            None => {
                let path = self.data_dir.join("secret");
                generated_secret(&path).map_err(|error| {
                    Failure(format!("The secret in {} cannot be read or made: {error}", path.display()))
                })?
            }
        };
        if secret.expose_secret().len() < 32 {
            return Err(Failure::new(
                "BOUNCER_SECRET needs at least 32 characters. Make one with: openssl rand -hex 32",
            ));
        }
        Ok(secret)
    }
}

/// Reads the secret's file; makes it when it is not there. Two processes that start at once end up with the same one.
fn generated_secret(path: &Path) -> std::io::Result<SecretString> {
    let read = || std::fs::read_to_string(path).map(|text| SecretString::from(text.trim()));
    match read() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        answer => return answer,
    }
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let secret: [u8; 32] = rand::random();
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    // Written aside and linked into place, so that nobody ever reads half of it.
    let draft = path.with_extension(format!("{}.tmp", std::process::id()));
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    writeln!(file, "{hex}")?;
    file.sync_all()?;
    let linked = std::fs::hard_link(&draft, path);
    std::fs::remove_file(&draft)?;
    match linked {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error),
        _ => read(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use domain::secret::ExposeSecret;

    use super::*;

    #[test]
    fn a_secret_is_made_once_and_for_its_owner_only() {
        let dir = std::env::temp_dir().join(format!("bouncer-secret-{}", uuid::Uuid::new_v4()));
        let path = dir.join("secret");
        let first = generated_secret(&path).unwrap();
        assert_eq!(first.expose_secret().len(), 64);
        assert_eq!(generated_secret(&path).unwrap().expose_secret(), first.expose_secret());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 1, "no draft stays behind");
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn public_addresses() {
        assert_eq!(public_url("https://b.example/").unwrap().0.as_deref(), Some("https://b.example"));
        assert_eq!(public_url("").unwrap().0, None);
        for wrong in
            ["b.example", "ftp://b.example", "https://b.example/path", "https://u:p@b.example", "https://b.example?x"]
        {
            assert!(public_url(wrong).is_err(), "{wrong}");
        }
    }
}
