//! What a codec made of a batch, told to those it concerns: the session machine, the store, the outbox. Nothing here waits
//! or calls a codec.

use super::end::End;
use super::outbox::Outbox;
use crate::contract::codec::{Event, Reconnect};
use crate::contract::description::Limited;
use crate::contract::observation::Receipt;
use crate::logic::session::{self as machine, Session};
use crate::status::{ProviderStatus, Trouble};
use crate::store::Note;
use crate::transport::clock::now;
use crate::transport::intake::Intake;

/// What the events of one batch change.
pub(super) struct Events<'a> {
    pub(super) session: &'a mut Session,
    pub(super) intake: &'a mut Intake,
    pub(super) outbox: &'a mut Outbox,
    pub(super) status: &'a ProviderStatus,
}

impl Events<'_> {
    /// Takes in the events of one batch, all of them. The error ends the connection.
    pub(super) fn take(mut self, events: Vec<Event>, receipt: Receipt) -> Result<(), End> {
        let unanswered = self.session.unanswered() > 0;
        let unread = unread(&events).map(|text| format!("a message could not be read: {text}"));
        let mut taken = Ok(());
        for event in events {
            self.take_one(event, receipt, unanswered, &mut taken);
        }
        if let Some(reason) = unread {
            self.intake.note(&self.session.keys(), Note::Unresolved, &reason);
        }
        self.intake.flush();
        taken
    }

    fn take_one(&mut self, event: Event, receipt: Receipt, unanswered: bool, taken: &mut Result<(), End>) {
        match event {
            Event::Observed(observation) => {
                // A value is as good as an acknowledgement.
                if unanswered {
                    self.session.handle_subscribed(observation.key, now());
                }
                self.intake.observed(observation, receipt);
            }
            Event::Unchanged(key) => self.intake.unchanged(key, receipt),
            Event::Subscribed(key) => {
                self.session.handle_subscribed(key, now());
                self.intake.subscribed(key);
            }
            Event::Rejected(rejection) => {
                self.session.handle_rejected(rejection.key, rejection.permanent, now());
                self.intake.rejected(rejection.key, &rejection.reason);
            }
            Event::Reply(frame) => {
                if let Err(end) = self.outbox.push(frame, Limited::Send) {
                    *taken = Err(end);
                }
            }
            Event::Ready => self.session.handle_ready(now()),
            Event::Alive => {}
            Event::Reconnect(when) => {
                let when = match when {
                    Reconnect::Now => machine::Reconnect::Now,
                    Reconnect::OverlapWithin(time) => machine::Reconnect::OverlapWithin(time),
                    Reconnect::After(time) => {
                        let words = format!("the venue asks to stay away for {} s", time.as_secs());
                        self.status.set_trouble(Trouble::Maintenance, &words);
                        machine::Reconnect::After(time)
                    }
                };
                self.session.handle_reconnect(when, now());
            }
            Event::Gap { key, missing } => self.intake.gap(key, missing),
            Event::Malformed { text, .. } => {
                let error = self.intake.shorten(&text);
                tracing::debug!(provider = %self.status.name, error, "a frame could not be read");
                self.intake.malformed();
            }
            Event::Unusable { key, why } => self.intake.unusable(key, &why),
        }
    }
}

/// Whether there is a value among them, or word that one still holds.
pub(super) fn has_data(events: &[Event]) -> bool {
    events.iter().any(|event| matches!(event, Event::Observed(_) | Event::Unchanged(_)))
}

/// What was wrong with a batch, where nothing in it could be read.
fn unread(events: &[Event]) -> Option<&str> {
    let malformed = events.iter().map(|event| match event {
        Event::Malformed { text, .. } => Some(text.as_str()),
        _ => None,
    });
    malformed.collect::<Option<Vec<_>>>()?.first().copied()
}
