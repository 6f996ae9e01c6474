//! Reloads that are under way: what each of them means for each provider, and who waits to hear it.

use std::collections::BTreeSet;

use tokio::sync::oneshot;

use crate::status::control::{Applied, ReloadReport};
use crate::store::wall_clock;

/// A reload whose consequences are not all known.
struct Reload {
    report: ReloadReport,
    /// The providers that are being replaced because of it.
    open: BTreeSet<String>,
    done: Option<oneshot::Sender<ReloadReport>>,
}

/// All of them.
#[derive(Default)]
pub(super) struct Reloads(Vec<Reload>);

impl Reloads {
    /// One more. `done`: who is told what came of it.
    pub(super) fn begin(&mut self, done: Option<oneshot::Sender<ReloadReport>>) {
        let report = ReloadReport { at: Some(wall_clock()), ..ReloadReport::default() };
        self.0.push(Reload { report, open: BTreeSet::new(), done });
    }

    /// What is wrong with the files, for those that have not said so yet.
    pub(super) fn errors(&mut self, errors: &[String]) {
        for reload in self.0.iter_mut().filter(|reload| reload.report.errors.is_empty()) {
            reload.report.errors = errors.to_vec();
        }
    }

    /// What it means for a provider.
    pub(super) fn applied(&mut self, name: &str, applied: Applied) {
        for reload in &mut self.0 {
            let known = reload.report.providers.entry(name.to_owned()).or_insert_with(|| applied.clone());
            if reload.open.remove(name) || *known == Applied::Kept {
                *known = applied.clone();
            }
        }
    }

    /// What it means for a provider will be known later.
    pub(super) fn pending(&mut self, name: &str) {
        for reload in self.0.iter_mut().filter(|reload| !reload.report.providers.contains_key(name)) {
            reload.open.insert(name.to_owned());
        }
    }

    /// Takes out those of which everything is known: their reports, and who waits for each. `is_replaced`: whether a
    /// provider is still being replaced; `judging`: whether a build is still being loaded or judged.
    pub(super) fn finish(
        &mut self,
        is_replaced: impl Fn(&str) -> bool,
        judging: bool,
    ) -> Vec<(ReloadReport, Option<oneshot::Sender<ReloadReport>>)> {
        let finished = self.0.extract_if(.., |reload| {
            reload.open.retain(|name| is_replaced(name));
            reload.open.is_empty() && !judging
        });
        finished.map(|Reload { report, done, .. }| (report, done)).collect()
    }
}
