//! What the venue is asked for on a connection, and the codec's frames that ask. The session machine decides when to ask;
//! `outbox` sends the frames.

use std::collections::BTreeMap;

use tokio::time::Instant;

use crate::builds::tape::Recorder;
use crate::contract::codec::{CodecError, Frame, Refusal, Subscription, WebSocketCodec};
use crate::contract::observation::Key;
use crate::logic::session::Session;
use crate::status::metrics::{Call, ProviderMetrics};
use crate::transport::clock::{context, now};
use crate::transport::intake::Intake;

/// What the venue was asked for on this connection. The table forgets an id at once when it is no longer wanted; the venue
/// must still be told.
pub(super) type Asked = BTreeMap<Key, Subscription>;

/// What a subscription uses and changes.
pub(super) struct Subscribing<'a> {
    pub(super) asked: &'a mut Asked,
    pub(super) session: &'a mut Session,
    pub(super) intake: &'a mut Intake,
    pub(super) recorder: &'a mut Recorder,
    pub(super) metrics: &'a ProviderMetrics,
}

impl Subscribing<'_> {
    /// The frames that ask for these ids; none if the plugin refuses them all.
    pub(super) async fn subscribe<C: WebSocketCodec>(
        self,
        codec: &mut C,
        keys: &[Key],
    ) -> Result<Vec<Frame>, CodecError> {
        let mut wanted = self.intake.table.subscriptions(keys);
        let mut call = context();
        self.recorder.subscribing(call, &wanted);
        // The plugin may refuse some; the rest is asked for again, at most once for each.
        while !wanted.is_empty() {
            let started = Instant::now();
            let result = codec.subscribe(std::mem::replace(&mut call, context()), &wanted).await;
            self.metrics.call(Call::Subscribe, started.elapsed());
            let rejections = match result {
                Ok(frames) => {
                    let clock = self.intake.receipt(Instant::now()).monotonic;
                    for subscription in wanted {
                        let key = subscription.key;
                        let again = self.asked.insert(key, subscription).is_some();
                        self.intake.asked(key, again, clock);
                    }
                    return Ok(frames);
                }
                Err(CodecError::Refused(Refusal::Rejected(rejections))) => rejections,
                Err(error) => return Err(error),
            };
            let before = wanted.len();
            for rejection in rejections {
                wanted.retain(|subscription| subscription.key != rejection.key);
                self.session.handle_rejected(rejection.key, rejection.permanent, now());
                self.intake.rejected(rejection.key, &rejection.reason);
            }
            if wanted.len() == before {
                let text = "subscribe refused ids that it was not asked for".to_owned();
                return Err(CodecError::Refused(Refusal::Malformed(text)));
            }
        }
        Ok(Vec::new())
    }

    /// The frames that give these ids up; none if the venue was not asked for any of them.
    pub(super) async fn unsubscribe<C: WebSocketCodec>(
        self,
        codec: &mut C,
        keys: &[Key],
    ) -> Result<Vec<Frame>, CodecError> {
        let given_up: Vec<Subscription> = keys.iter().filter_map(|key| self.asked.remove(key)).collect();
        if given_up.is_empty() {
            return Ok(Vec::new());
        }
        let context = context();
        self.recorder.unsubscribing(context, &given_up);
        codec.unsubscribe(context, &given_up).await
    }
}
