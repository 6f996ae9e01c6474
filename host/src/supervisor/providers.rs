//! The providers that should run and those that do: serving, on their way to take another's place, on trial, refused.

use std::collections::BTreeMap;
use std::time::Instant;

use tokio::task::JoinSet;

use crate::config::ProviderConfig;
use crate::contract::digest::Digest;
use crate::logic::handover::Handover;
use crate::logic::probation::Probation;
use crate::provider::Provider;

/// By name, all of them.
#[derive(Default)]
pub(super) struct Providers {
    /// What should run.
    pub(super) wanted: BTreeMap<String, ProviderConfig>,
    pub(super) running: BTreeMap<String, Provider>,
    pub(super) heirs: BTreeMap<String, Heir>,
    pub(super) trials: BTreeMap<String, Trial>,
    pub(super) refused: BTreeMap<String, Refused>,
    /// Those that were replaced and say goodbye.
    pub(super) leaving: JoinSet<()>,
}

/// A provider on its way to take another's place.
pub(super) struct Heir {
    pub(super) provider: Provider,
    pub(super) handover: Handover,
    /// What is different.
    pub(super) what: String,
}

/// A build on trial in one provider.
pub(super) struct Trial {
    pub(super) digest: Digest,
    pub(super) probation: Probation,
}

/// What a provider was not to run with, and why.
pub(super) struct Refused {
    pub(super) digest: Digest,
    pub(super) config: ProviderConfig,
    pub(super) reason: String,
    pub(super) until: Instant,
}

impl Providers {
    /// The digests of the builds that run now, heirs' included.
    pub(super) fn digests(&self) -> impl Iterator<Item = Digest> {
        let all = self.running.values().chain(self.heirs.values().map(|heir| &heir.provider));
        all.map(|provider| provider.plugin().digest())
    }

    /// Stops all of them at once, and waits until they have said goodbye.
    pub(super) async fn stop(&mut self, why: &'static str) {
        let mut stopping = JoinSet::new();
        let heirs = std::mem::take(&mut self.heirs).into_values().map(|heir| heir.provider);
        for provider in std::mem::take(&mut self.running).into_values().chain(heirs) {
            stopping.spawn(async move { provider.stop(why).await });
        }
        while stopping.join_next().await.is_some() {}
        while self.leaving.join_next().await.is_some() {}
    }
}
