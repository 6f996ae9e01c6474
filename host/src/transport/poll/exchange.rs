//! One planned request on its way to an answer: its turn within the venue's limits, and a second copy where the operator
//! wants one. What the answer means is the poller's.

use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::select;
use tokio::time::Instant;

use super::validators::Conditions;
use crate::contract::codec::{Method, Request, Response};
use crate::contract::description::Limited;
use crate::status::metrics::ProviderMetrics;
use crate::transport::http::{FetchError, HttpClient};
use crate::transport::limiter::Limiter;

/// How requests of one poller are sent.
#[derive(Clone)]
pub(super) struct Exchange {
    pub(super) client: HttpClient,
    /// Locked to book, never while waiting.
    pub(super) limiter: Arc<Mutex<Limiter>>,
    pub(super) metrics: ProviderMetrics,
    pub(super) timeout: Duration,
    /// When a GET that has no answer yet is sent once more.
    pub(super) hedge_after: Option<Duration>,
}

impl Exchange {
    /// The answer to one request. Where a second copy was sent the first good answer is taken, and a bad one only when
    /// both are bad.
    pub(super) async fn ask(&self, request: &Request, conditions: &Conditions) -> Result<Response, FetchError> {
        if let Some(answer) = self.client.answer_itself(request) {
            return answer;
        }
        self.turn(request).await?;
        let mut first = pin!(self.client.send(request, conditions, self.timeout));
        let Some(after) = self.hedge_after.filter(|_| request.method == Method::Get) else {
            return first.await;
        };
        if let Ok(answer) = tokio::time::timeout(after, &mut first).await {
            return answer;
        }
        let second = pin!(async {
            self.turn(request).await?;
            self.metrics.request("hedged");
            self.client.send(request, conditions, self.timeout).await
        });
        let (answer, other) = select(first, second).await.factor_first();
        if is_good(&answer) {
            return answer;
        }
        let other = other.await;
        if is_good(&other) { other } else { answer }
    }

    /// Books the request and waits until it may be sent. A request that may not go out books nothing.
    async fn turn(&self, request: &Request) -> Result<(), FetchError> {
        let origin = self.client.admit(request)?.origin;
        // A pause may last for hours: it is the schedule that waits, and says so, not a poll under way.
        self.client.check_pause(&origin)?;
        let at = {
            let mut limiter = self.limiter.lock().unwrap_or_else(PoisonError::into_inner);
            limiter.reserve(&origin, Limited::Request, Instant::now())
        };
        tokio::time::sleep_until(at).await;
        Ok(())
    }
}

fn is_good(answer: &Result<Response, FetchError>) -> bool {
    answer.as_ref().is_ok_and(|response| response.status < 400)
}
