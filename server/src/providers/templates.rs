//! Templates of Cloud API numbers: taken over from Meta when somebody asks, when a number is connected, and once a day.

use std::time::Duration;

use domain::{
    ids::{InstanceId, OrgId},
    people::Actor,
    templates::{
        Listed,
        store::{self, Synced},
    },
};

use super::connecting::Failed;
use crate::state::AppState;

/// A listing of many pages may take this long when nobody asked for it.
const PATIENCE: Duration = Duration::from_secs(30);

/// Asks the provider for its whole listing and takes it over. `actor`: who asked for it, if anybody did.
///
/// # Errors
/// `Ours`: as [`store::sync`]; `Theirs`: the provider has no listing (then nothing is taken over), refused, or cannot be
/// reached.
pub async fn fetch(
    state: &AppState,
    actor: Option<&Actor>,
    organization: OrgId,
    instance: InstanceId,
) -> Result<Synced, Failed> {
    let route = state.providers.route(organization, instance).await?;
    let entries = route.provider.templates(&route.connection).await?;
    let listed: Vec<Listed> = entries
        .iter()
        .filter_map(|entry| {
            // Without a name or language it could not be sent anyway.
            Listed::parse(entry)
                .inspect_err(|error| tracing::warn!(%instance, error, "a listed template was left out"))
                .ok()
        })
        .collect();
    Ok(store::sync(&state.db, actor, organization, instance, &listed).await?)
}

/// As [`fetch`], when nobody asked for it: what goes wrong is only logged, and the daily round tries again.
pub async fn fetch_unasked(state: &AppState, organization: OrgId, instance: InstanceId) {
    match tokio::time::timeout(PATIENCE, fetch(state, None, organization, instance)).await {
        Ok(Ok(synced)) => tracing::info!(%instance, ?synced, "templates were taken over"),
        Ok(Err(error)) => tracing::warn!(%instance, %error, "templates cannot be taken over"),
        Err(_) => tracing::warn!(%instance, "templates cannot be taken over: the provider did not answer in time"),
    }
}
