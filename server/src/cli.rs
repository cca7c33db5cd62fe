//! The `bouncer` command. Commands do their work through the same functions as the console and the API.

use std::{
    io::{IsTerminal, Read, Write},
    net::IpAddr,
    process::ExitCode,
};

use chrono::{DateTime, Duration, Utc};
use clap::{Args, Parser, Subcommand};
use domain::{
    Db,
    audit::store::Verdict,
    ids::{InstanceId, KeyId, OrgId},
    keys::{Environment, KeyFilter, KeyForm, store},
    people::{Actor, Organization, form, passwords, sign_in},
    secret::{ExposeSecret, SecretString},
};
use serde_json::json;

use crate::{
    api,
    config::{Failure, Settings},
    postgres::Cluster,
    serve, telemetry,
};

/// Who does what is done here, in the audit log.
const COMMAND_LINE: &str = "command line";

/// Developer console and public API of a WhatsApp messaging platform
#[derive(Debug, Parser)]
#[command(name = "bouncer", version, arg_required_else_help = false, disable_help_subcommand = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,

    #[command(flatten)]
    settings: Settings,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the console and the API (the default)
    Serve,
    /// Bring the database up to date and end
    Migrate,
    /// Organizations and their owners
    #[command(subcommand)]
    Admin(AdminCommand),
    /// API keys
    #[command(subcommand)]
    Keys(KeysCommand),
    /// The audit log
    #[command(subcommand)]
    Audit(AuditCommand),
    /// The secret that seals others
    #[command(subcommand)]
    Secrets(SecretsCommand),
    /// Print the OpenAPI document of the API
    Openapi,
}

#[derive(Debug, Subcommand)]
enum AdminCommand {
    /// Create an organization and its owner
    Create(AdminCreate),
}

#[derive(Debug, Args)]
struct AdminCreate {
    /// The organization's name
    #[arg(long)]
    organization: String,
    /// The owner's e-mail address
    #[arg(long)]
    email: String,
    /// The owner's name; the part of the address before the @ by default
    #[arg(long)]
    name: Option<String>,
    /// Read the password from standard input. Otherwise it is asked for at a terminal, and made up elsewhere
    #[arg(long)]
    password_stdin: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    /// Create a key and print it: the only time that it can be seen
    Create(Box<KeysCreate>),
    /// List keys
    List(KeysList),
    /// Revoke keys for ever
    Revoke(KeysRevoke),
}

#[derive(Debug, Args)]
struct KeysCreate {
    /// The organization's name or id; needed when there are several
    #[arg(long)]
    organization: Option<String>,
    /// The key's name, unique among the organization's keys
    #[arg(long)]
    name: String,
    /// A scope such as message:send; may be repeated
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    /// A group of scopes such as standard_integration
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
    /// live or test
    #[arg(long, default_value = "live")]
    environment: String,
    #[arg(long, default_value = "")]
    description: String,
    /// Calls in any sixty minutes; 0 for no limit
    #[arg(long, default_value = "1000", value_name = "CALLS")]
    rate_limit: String,
    /// Days until the key expires; never by default
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u16).range(1..=3650))]
    expires_days: Option<u16>,
    /// An address or network that the key works from; may be repeated; any by default
    #[arg(long = "allow-ip", value_name = "ADDRESS")]
    allow_ips: Vec<String>,
    /// The id of an instance that the key may use; may be repeated; all by default
    #[arg(long = "instance", value_name = "ID")]
    instances: Vec<InstanceId>,
    /// Anti-ban pacing: off, fixed, random or smart
    #[arg(long, default_value = "off", value_name = "MODE")]
    throttle: String,
    /// Seconds between messages (fixed)
    #[arg(long, value_name = "SECONDS")]
    delay: Option<String>,
    /// Shortest time between messages (random, smart)
    #[arg(long, value_name = "SECONDS")]
    min_delay: Option<String>,
    /// Longest time between messages (random, smart)
    #[arg(long, value_name = "SECONDS")]
    max_delay: Option<String>,
    /// Messages before a pause (smart)
    #[arg(long, value_name = "MESSAGES")]
    batch_size: Option<String>,
    /// Length of the pause (smart)
    #[arg(long, value_name = "SECONDS")]
    batch_cooldown: Option<String>,
    /// Messages that may wait on one instance
    #[arg(long, value_name = "MESSAGES")]
    max_queue: Option<String>,
    /// Issue an API secret too: calls must then carry it or be signed with it
    #[arg(long)]
    with_secret: bool,
    /// Print {"id","key","secret","name","environment"} as JSON, the secret only with --with-secret
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct KeysList {
    /// The organization's name or id; needed when there are several
    #[arg(long)]
    organization: Option<String>,
    /// Part of a name, hint or description, or a key's id
    #[arg(long, default_value = "")]
    search: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct KeysRevoke {
    /// The keys' ids
    #[arg(required = true, value_name = "ID")]
    ids: Vec<KeyId>,
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    /// Check that no row of the audit log was changed or removed
    Verify,
}

#[derive(Debug, Subcommand)]
enum SecretsCommand {
    /// Seal everything anew with BOUNCER_SECRET; BOUNCER_OLD_SECRET is the one before
    ///
    /// Run the servers with both secrets first, then this. A day later they need the old one no more: answers that are
    /// kept for Idempotency-Key may be sealed with it, and end by then.
    Rotate,
}

/// Runs the command line; the answer is the process's exit code.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    telemetry::log(cli.settings.log);
    // A page is rendered on one thread while another waits for its data: with a single one, streams can stall.
    let threads = std::thread::available_parallelism().map_or(2, |n| n.get().max(2));
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&Failure(format!("No threads can be started: {error}"))),
    };
    match runtime.block_on(execute(cli)) {
        Ok(code) => code,
        Err(failure) => fail(&failure),
    }
}

fn fail(failure: &Failure) -> ExitCode {
    eprintln!("bouncer: {failure}");
    ExitCode::FAILURE
}

async fn execute(cli: Cli) -> Result<ExitCode, Failure> {
    let settings = &cli.settings;
    match cli.command.unwrap_or(Command::Serve) {
        Command::Serve => serve::run(settings).await.map(|()| ExitCode::SUCCESS),
        Command::Openapi => {
            print(api::openapi::text(&settings.public_url()))?;
            Ok(ExitCode::SUCCESS)
        }
        command => {
            let database = Database::open(settings).await?;
            let done = with_database(command, settings, &database.db).await;
            // Also after a failure: nothing may go on running that was not running before.
            database.close().await?;
            done
        }
    }
}

/// The database, and with it the private cluster if there is one.
pub struct Database {
    pub db: Db,
    cluster: Option<Cluster>,
}

impl Database {
    /// Attaches to the private cluster or connects to the given server, and brings the schema up to date.
    ///
    /// # Errors
    /// With a sentence that says what to do.
    pub async fn open(settings: &Settings) -> Result<Self, Failure> {
        let (options, cluster) = match settings.database_url() {
            Some(url) => {
                // The error would repeat the address, password included.
                let known = url.starts_with("postgres://") || url.starts_with("postgresql://");
                let options = url.parse().ok().filter(|_| known).ok_or_else(|| {
                    Failure::new("DATABASE_URL is not an address like postgres://user:password@host/database.")
                })?;
                (options, None)
            }
            None => {
                let cluster = Cluster::attach(&settings.data_dir).await?;
                (cluster.options(), Some(cluster))
            }
        };
        let database = Self { db: Db::open(options, settings.database_connections), cluster };
        match database.prepare().await {
            Ok(()) => Ok(database),
            Err(failure) => {
                database.close().await?;
                Err(failure)
            }
        }
    }

    /// Starts the private Postgres again if it ended; does nothing for any other database.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn revive(&self) -> Result<bool, Failure> {
        match &self.cluster {
            Some(cluster) => cluster.revive().await,
            None => Ok(false),
        }
    }

    async fn prepare(&self) -> Result<(), Failure> {
        // A database that is started together with us may need a moment.
        let begun = std::time::Instant::now();
        while let Err(error) = self.db.ping().await {
            if begun.elapsed() > std::time::Duration::from_secs(30) || !matches!(error, domain::Error::Unavailable) {
                return Err(error.into());
            }
            tracing::warn!("the database cannot be reached yet; trying again");
            tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        }
        self.db.migrate().await.map_err(|error| Failure(format!("The database cannot be brought up to date: {error}")))
    }

    /// Closes all connections, and leaves the cluster.
    ///
    /// # Errors
    /// When the cluster does not stop.
    pub async fn close(self) -> Result<(), Failure> {
        self.db.close().await;
        match self.cluster {
            Some(cluster) => cluster.release().await,
            None => Ok(()),
        }
    }
}

async fn with_database(command: Command, settings: &Settings, db: &Db) -> Result<ExitCode, Failure> {
    match command {
        // Opening it did the work.
        Command::Migrate => print("The database is up to date.\n".into())?,
        Command::Admin(AdminCommand::Create(args)) => admin_create(args, settings, db).await?,
        Command::Keys(KeysCommand::Create(args)) => keys_create(*args, settings, db).await?,
        Command::Keys(KeysCommand::List(args)) => keys_list(args, db).await?,
        Command::Keys(KeysCommand::Revoke(args)) => keys_revoke(&args.ids, db).await?,
        Command::Audit(AuditCommand::Verify) => return audit_verify(db).await,
        Command::Secrets(SecretsCommand::Rotate) => return secrets_rotate(settings, db).await,
        Command::Serve | Command::Openapi => {}
    }
    Ok(ExitCode::SUCCESS)
}

async fn secrets_rotate(settings: &Settings, db: &Db) -> Result<ExitCode, Failure> {
    let resealed = domain::reseal::all(db, &settings.sealer()?, COMMAND_LINE).await?;
    print(format!(
        "{} sealed anew, {} were sealed with the current secret already.\n",
        resealed.done, resealed.current
    ))?;
    if resealed.unreadable.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!(
        "bouncer: {} cannot be opened with BOUNCER_SECRET or BOUNCER_OLD_SECRET and stay as they are:",
        resealed.unreadable.len()
    );
    for place in &resealed.unreadable {
        eprintln!("  {place}");
    }
    Ok(ExitCode::FAILURE)
}

async fn admin_create(args: AdminCreate, settings: &Settings, db: &Db) -> Result<(), Failure> {
    let email = form::email(&args.email).map_err(|error| Failure(error.message))?;
    let name = args.name.unwrap_or_else(|| email.split('@').next().unwrap_or_default().to_owned());
    let (password, made_up) = password(args.password_stdin)?;
    let cost = if settings.cheap_passwords { passwords::Cost::Test } else { passwords::Cost::Production };
    let hasher = passwords::Hasher::new(cost, 1)?;
    let (_, organization) =
        sign_in::create_organization(db, &hasher, &args.organization, &name, &email, &password, None).await?;
    let shown = made_up.then(|| password.expose_secret());
    if args.json {
        let mut answer = json!({ "organizationId": organization, "email": email });
        if let Some(password) = shown {
            answer["password"] = password.into();
        }
        return print(format!("{answer}\n"));
    }
    let mut text =
        format!("Created the organization {} ({organization}) with {email} as its owner.\n", args.organization.trim());
    if let Some(password) = shown {
        text.push_str(&format!("Password, shown this once: {password}\n"));
    }
    text.push_str(&format!("Sign in at {}/sign-in\n", settings.public_url()));
    print(text)
}

/// The password, and whether it was made up here.
fn password(from_stdin: bool) -> Result<(SecretString, bool), Failure> {
    let unreadable = |error: std::io::Error| Failure(format!("The password cannot be read: {error}"));
    if from_stdin {
        let mut text = String::new();
        // More than any password: a file by mistake must not fill the memory.
        std::io::stdin().take(10_000).read_to_string(&mut text).map_err(unreadable)?;
        // The line's end that echo writes is not meant.
        return Ok((SecretString::from(text.trim_end_matches(['\r', '\n'])), false));
    }
    if std::io::stdin().is_terminal() {
        let first = rpassword::prompt_password("Password (not shown): ").map_err(unreadable)?;
        let again = rpassword::prompt_password("Once more: ").map_err(unreadable)?;
        if first != again {
            return Err(Failure::new("The two passwords are not the same."));
        }
        return Ok((SecretString::from(first), false));
    }
    use rand::RngExt;
    // 24 of 62 characters: 143 bits.
    let made_up: String = rand::rng().sample_iter(rand::distr::Alphanumeric).take(24).map(char::from).collect();
    Ok((SecretString::from(made_up), true))
}

/// The named organization, or the only one.
async fn organization(db: &Db, named: Option<&str>) -> Result<Organization, Failure> {
    if let Some(named) = named {
        return match sign_in::organization_by_name_or_id(db, named).await {
            Err(domain::Error::NotFound) => Err(Failure(format!("There is no organization “{named}”."))),
            other => Ok(other?),
        };
    }
    let mut all = sign_in::organizations(db, 20).await?;
    match all.as_slice() {
        [] => Err(Failure::new(
            "There is no organization yet. Create one with: bouncer admin create --organization … --email …",
        )),
        [_] => Ok(all.remove(0)),
        several => {
            let names: Vec<&str> = several.iter().map(|organization| organization.name.as_str()).collect();
            Err(Failure(format!(
                "Say which organization you mean with --organization. There are: {}",
                names.join(", ")
            )))
        }
    }
}

fn actor(organization: OrgId) -> Actor {
    Actor { organization_id: organization, person_id: None, name: COMMAND_LINE.into(), ip: None::<IpAddr>, role: None }
}

async fn keys_create(args: KeysCreate, settings: &Settings, db: &Db) -> Result<(), Failure> {
    let organization = organization(db, args.organization.as_deref()).await?;
    let now = Utc::now();
    let form = key_form(&args, now);
    let new = form.parse(now, None).map_err(|errors| {
        Failure(
            errors
                .into_iter()
                .map(|e| format!("{}: {}", option_of(&e.field), e.message))
                .collect::<Vec<_>>()
                .join("\n"),
        )
    })?;
    let actor = actor(organization.id);
    let issued = if new.issue_secret {
        store::create_with_secret(db, &settings.sealer()?, &actor, new, None, &settings.key_prefix).await?
    } else {
        store::create(db, &actor, new, None, &settings.key_prefix).await?
    };
    let key = issued.text.expose_secret();
    let secret = issued.api_secret.as_ref().map(|secret| secret.expose_secret());
    if args.json {
        let answer = Created { id: issued.id, key, secret, name: &issued.name, environment: issued.environment };
        let text = serde_json::to_string(&answer).map_err(|error| Failure(error.to_string()))?;
        return print(format!("{text}\n"));
    }
    print(format!(
        "Created {} ({}) for {}. This is the only time the key is shown:\n{key}\n{}",
        issued.name,
        issued.id,
        organization.name,
        secret.map(|secret| format!("Its API secret, also shown only now:\n{secret}\n")).unwrap_or_default()
    ))
}

/// What `keys create --json` prints.
#[derive(serde::Serialize)]
struct Created<'a> {
    id: KeyId,
    key: &'a str,
    /// Only with `--with-secret`.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<&'a str>,
    name: &'a str,
    environment: Environment,
}

/// The dialog's form, filled in from the options.
fn key_form(args: &KeysCreate, now: DateTime<Utc>) -> KeyForm {
    let defaults = KeyForm::default();
    let or = |value: &Option<String>, default: String| value.clone().unwrap_or(default);
    let (expires, expires_on) = match args.expires_days {
        None => ("never".into(), String::new()),
        Some(days @ (7 | 30 | 90 | 365)) => (days.to_string(), String::new()),
        Some(days) => ("date".into(), (now + Duration::days(days.into())).date_naive().to_string()),
    };
    KeyForm {
        name: args.name.clone(),
        description: args.description.clone(),
        environment: args.environment.clone(),
        throttle_mode: args.throttle.clone(),
        delay: or(&args.delay, defaults.delay),
        min_delay: or(&args.min_delay, defaults.min_delay),
        max_delay: or(&args.max_delay, defaults.max_delay),
        batch_size: or(&args.batch_size, defaults.batch_size),
        batch_cooldown: or(&args.batch_cooldown, defaults.batch_cooldown),
        max_queue: or(&args.max_queue, defaults.max_queue),
        scope_group: args.group.clone().unwrap_or_default(),
        scopes: args.scopes.clone(),
        allowed_ips: args.allow_ips.join("\n"),
        instances_mode: if args.instances.is_empty() { "all" } else { "some" }.into(),
        instances: args.instances.iter().map(ToString::to_string).collect(),
        rate_limit: if args.rate_limit.trim() == "0" { String::new() } else { args.rate_limit.clone() },
        expires,
        expires_on,
        issue_secret: if args.with_secret { "on".into() } else { String::new() },
        ..KeyForm::default()
    }
}

/// The option that fills a field of the form.
fn option_of(field: &str) -> String {
    match field {
        "throttle_mode" => "--throttle".into(),
        "scope_group" => "--group".into(),
        "scopes" => "--scope".into(),
        "allowed_ips" => "--allow-ip".into(),
        "instances" => "--instance".into(),
        "expires" | "expires_on" => "--expires-days".into(),
        other => format!("--{}", other.replace('_', "-")),
    }
}

async fn keys_list(args: KeysList, db: &Db) -> Result<(), Failure> {
    let organization = organization(db, args.organization.as_deref()).await?;
    let filter = KeyFilter { q: args.search, ..KeyFilter::default() };
    let now = Utc::now();
    let ids = store::matching(db, organization.id, &filter, now).await?;
    let mut rows = vec![];
    for ids in ids.chunks(store::ROWS_AT_ONCE) {
        rows.extend(store::rows(db, organization.id, ids, now).await?);
    }
    if args.json {
        let keys: Vec<_> = rows
            .iter()
            .map(|row| {
                let key = &row.key;
                json!({
                    "id": key.id, "name": key.name, "hint": key.hint, "environment": key.environment,
                    "status": row.status.label, "scopes": key.scopes, "rateLimit": key.rate_limit,
                    "createdAt": key.created_at, "expiresAt": key.expires_at,
                    "lastUsedAt": key.last_use.as_ref().map(|used| used.at),
                })
            })
            .collect();
        return print(format!("{}\n", serde_json::Value::from(keys)));
    }
    if rows.is_empty() {
        return print(format!("{} has no such keys.\n", organization.name));
    }
    let mut text = String::new();
    for row in rows {
        let key = &row.key;
        let environment = match key.environment {
            Environment::Live => "live",
            Environment::Test => "test",
        };
        // Names may hold every script, so the columns that can be aligned come first.
        text.push_str(&format!(
            "{}  {:<24}  {environment}  {:<17}  {}\n",
            key.id, key.hint, row.status.label, key.name
        ));
    }
    print(text)
}

async fn keys_revoke(ids: &[KeyId], db: &Db) -> Result<(), Failure> {
    let owners = store::owners(db, ids).await?;
    // All or none: a mistyped id must not leave half of the work done unnoticed.
    if let Some(unknown) = ids.iter().find(|id| !owners.iter().any(|(known, ..)| known == *id)) {
        return Err(Failure(format!("There is no key {unknown}. Nothing was revoked.")));
    }
    let mut revoked = 0;
    for group in owners.chunk_by(|a, b| a.1 == b.1) {
        // A single key that is revoked already is worth an explanation; among many it is passed over.
        let ids: Vec<KeyId> =
            group.iter().filter(|(.., gone)| !gone || owners.len() == 1).map(|(id, ..)| *id).collect();
        if !ids.is_empty() {
            revoked += store::revoke(db, &actor(group[0].1), &ids).await?;
        }
    }
    print(match revoked {
        1 => "Revoked 1 key. It will never work again.\n".into(),
        n => format!("Revoked {n} keys. They will never work again.\n"),
    })
}

async fn audit_verify(db: &Db) -> Result<ExitCode, Failure> {
    let (mut text, mut code) = (String::new(), ExitCode::SUCCESS);
    for (organization, verdict) in domain::audit::store::verify(db).await? {
        match verdict {
            Verdict::Whole { rows, end } => {
                text.push_str(&format!("{organization}: {rows} rows, all as they were written; the last is {end}\n"))
            }
            Verdict::Broken { at_seq } => {
                text.push_str(&format!("{organization}: row {at_seq} is missing or was changed\n"));
                code = ExitCode::FAILURE;
            }
        }
    }
    if text.is_empty() {
        text = "There is no organization yet.\n".into();
    }
    print(text)?;
    Ok(code)
}

fn print(text: String) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // `bouncer keys list | head` has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other.map_err(|error| Failure(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn options_fill_the_form_in() {
        let now = Utc::now();
        let cli = Cli::parse_from([
            "bouncer",
            "keys",
            "create",
            "--name",
            "Shop",
            "--scope",
            "message:send",
            "--expires-days",
            "10",
            "--rate-limit",
            "0",
        ]);
        let Some(Command::Keys(KeysCommand::Create(args))) = cli.command else { panic!() };
        let key = key_form(&args, now).parse(now, None).unwrap();
        assert_eq!((key.rate_limit, key.scopes.len()), (None, 1));
        let days = (key.expires_at.unwrap() - now).num_hours() as f64 / 24.0;
        assert!((10.0..=11.0).contains(&days), "{days}");
    }
}
