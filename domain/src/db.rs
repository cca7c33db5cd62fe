//! The two database pools, and with them the two walls between organizations.
//!
//! [`Db::tenant`] opens a transaction under the role `bouncer_app`, which sees the rows of one organization only,
//! whatever the statement says. [`Db::system`] is the owner of the tables, for the gate, the workers and sign-in.

use std::time::Duration;

use sqlx::{
    PgPool, Postgres, Transaction,
    migrate::Migrator,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use crate::{error::Result, ids::OrgId};

/// The embedded migrations.
pub static MIGRATOR: Migrator = sqlx::migrate!("../migrations");

/// How long a caller waits for a free connection before it is told that the database cannot be reached.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);

/// How long a statement for people or callers may take: a few that search for long must not hold all connections.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug, Clone)]
pub struct Db {
    system: PgPool,
    tenant: PgPool,
}

impl Db {
    /// Opens both pools lazily: the first use connects, and a database that comes back is found again.
    pub fn open(options: PgConnectOptions, max_connections: u32) -> Self {
        let pool = || {
            PgPoolOptions::new()
                .max_connections(max_connections.div_ceil(2).max(2))
                .acquire_timeout(ACQUIRE_TIMEOUT)
                // Without a test, the first callers after a restart of the database would get its broken connections.
                .test_before_acquire(true)
        };
        Self {
            system: pool().connect_lazy_with(options.clone()),
            tenant: pool()
                .after_connect(|connection, _| {
                    Box::pin(async move {
                        sqlx::query("set role bouncer_app").execute(&mut *connection).await?;
                        // What people look at is read often, so it lies in memory, where a page out of order costs no more
                        // than the next: with Postgres' own 4, indexes that hold all that is asked for are passed over.
                        sqlx::query(
                            "select set_config('statement_timeout', $1, false),
                                    set_config('random_page_cost', least(current_setting('random_page_cost')::float8,
                                               1.1 * current_setting('seq_page_cost')::float8)::text, false)",
                        )
                        .bind(STATEMENT_TIMEOUT.as_millis().to_string())
                        .execute(connection)
                        .await?;
                        Ok(())
                    })
                })
                .connect_lazy_with(options),
        }
    }

    /// As [`Db::open`], and makes sure that the database answers.
    pub async fn connect(options: PgConnectOptions, max_connections: u32) -> Result<Self> {
        let db = Self::open(options, max_connections);
        db.ping().await?;
        Ok(db)
    }

    /// Brings the schema up to date. Servers that start together wait for each other.
    pub async fn migrate(&self) -> Result<()> {
        MIGRATOR.run(&self.system).await.map_err(crate::Error::internal)
    }

    pub fn system(&self) -> &PgPool {
        &self.system
    }

    /// A transaction that sees one organization.
    pub async fn tenant(&self, organization: OrgId) -> Result<Transaction<'static, Postgres>> {
        // One way to the database for both. An id is hexadecimal digits and dashes, whoever sent it.
        let begin = format!("begin; set local bouncer.organization = '{}'", organization.0);
        Ok(self.tenant.begin_with(sqlx::AssertSqlSafe(begin)).await?)
    }

    pub async fn ping(&self) -> Result<()> {
        sqlx::query("select 1").execute(&self.system).await?;
        Ok(())
    }

    pub async fn close(&self) {
        self.tenant.close().await;
        self.system.close().await;
    }
}
