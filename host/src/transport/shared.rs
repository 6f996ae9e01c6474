//! What all tasks of one provider share: the store's slots, the status, the way out, the limits. Each task holds it behind
//! one `Arc`. Nothing here runs by itself, and what only one kind of task needs does not belong here.

use std::sync::Arc;
use std::time::Duration;

use super::http::HttpClient;
use super::limiter::{Limiter, OriginLimits};
use super::network::Network;
use super::places::Places;
use crate::access::secret::Secrets;
use crate::builds::faults::{FaultLog, Input};
use crate::builds::tape::Tapes;
use crate::contract::codec::{CodecError, Refusal};
use crate::contract::description::Bucket;
use crate::contract::observation::PlausibleTimes;
use crate::contract::origin::Grants;
use crate::status::{ProviderStatus, Trouble};
use crate::store::ProviderSlots;

/// The parts that every task of a provider uses.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) slots: Arc<ProviderSlots>,
    /// The number of the provider's writer.
    pub(crate) writer: u64,
    pub(crate) status: Arc<ProviderStatus>,
    pub(crate) faults: Arc<FaultLog>,
    pub(crate) client: HttpClient,
    pub(crate) network: Network,
    pub(crate) grants: Arc<Grants>,
    pub(crate) secrets: Arc<Secrets>,
    pub(crate) buckets: Arc<[Bucket]>,
    pub(crate) places: Arc<Places>,
    pub(crate) origins: Arc<OriginLimits>,
    pub(crate) plausible: PlausibleTimes,
    /// How long to stay away at least from a venue that refuses us.
    pub(crate) refused_wait: Duration,
    pub(crate) tapes: Arc<Tapes>,
}

impl Shared {
    /// The limits as one connection or one poller keeps to them.
    pub(super) fn limiter(&self) -> Limiter {
        Limiter::new(self.buckets.clone(), self.origins.clone())
    }

    /// Notes that a codec's call failed: a death in the fault log, a venue in trouble in the status. `reason` is the error
    /// in words that may be shown. Answers how long to wait before the next try, where that is known.
    pub(super) fn codec_failed(
        &self,
        error: &CodecError,
        call: &'static str,
        input: Option<Input>,
        reason: &str,
    ) -> Option<Duration> {
        match error {
            CodecError::Dead(death) => {
                self.status.metrics.death(death.kind());
                self.faults.note(&self.status.name, call, death, input)
            }
            CodecError::Refused(Refusal::RateLimited { wait, .. }) => {
                self.status.set_trouble(Trouble::RateLimited, reason);
                *wait
            }
            CodecError::Refused(Refusal::Unavailable(_)) => {
                self.status.set_trouble(Trouble::Maintenance, reason);
                None
            }
            CodecError::Refused(_) => None,
        }
    }
}
