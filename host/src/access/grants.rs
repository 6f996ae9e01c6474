//! What a plugin asks for in its description, what the operator allows, and whether that is enough. Decides; asks nobody.
//!
//! Where a granted origin may lead to, and by which means, is `origin`'s: what a plugin describes is granted over `https`
//! and `wss` and at public addresses only, whatever is decided here.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde::Deserialize;

use crate::contract::description::{Description, Resources};
use crate::contract::limits::PluginLimits;

/// What a plugin gets without being told.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// What it describes when it comes; later builds of it no more than that.
    #[default]
    Described,
    /// Nothing.
    Strict,
}

/// What is asked for, or what is granted.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Asks {
    /// Mirrors included, as they are written.
    pub origins: BTreeSet<String>,
    pub secrets: BTreeSet<String>,
    /// Only what is beyond the defaults.
    pub resources: Resources,
}

/// A build that asks for more than it may have.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NeedsGrant {
    missing: Asks,
}

impl Asks {
    /// What a plugin asks for, where an instance has `defaults`.
    pub fn of(description: &Description, defaults: &PluginLimits) -> Self {
        let mirrors = description.mirrors.iter().flat_map(|(_, instead)| instead);
        Self {
            origins: description.origins.iter().chain(mirrors).map(ToString::to_string).collect(),
            secrets: description.secrets.iter().map(|secret| secret.name.clone()).collect(),
            resources: defaults.exceeded_by(&description.resources),
        }
    }

    /// Both together.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        Self {
            origins: self.origins.union(&other.origins).cloned().collect(),
            secrets: self.secrets.union(&other.secrets).cloned().collect(),
            resources: self.resources.max(other.resources),
        }
    }

    /// What of it is not granted.
    pub fn beyond(&self, granted: &Self) -> Self {
        let more = |ours, theirs| if ours > theirs { ours } else { None };
        let (ours, theirs) = (&self.resources, &granted.resources);
        Self {
            origins: self.origins.difference(&granted.origins).cloned().collect(),
            secrets: self.secrets.difference(&granted.secrets).cloned().collect(),
            resources: Resources {
                memory_mib: more(ours.memory_mib, theirs.memory_mib),
                init_ms: more(ours.init_ms, theirs.init_ms),
                build_ms: more(ours.build_ms, theirs.build_ms),
                parse_ms: more(ours.parse_ms, theirs.parse_ms),
                result_kib: more(ours.result_kib, theirs.result_kib),
            },
        }
    }

    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// As it is written in the configuration, one a line.
    pub fn written(&self) -> Vec<String> {
        let list = |name: &str, list: &BTreeSet<String>| {
            let quoted: Vec<String> = list.iter().map(|text| format!("{text:?}")).collect();
            (!list.is_empty()).then(|| format!("{name} = [{}]", quoted.join(", ")))
        };
        let lists = [list("origins", &self.origins), list("secrets", &self.secrets)];
        let each = self.resources.each();
        let counts = each.iter().filter_map(|(name, count)| count.map(|count| format!("{name} = {count}")));
        lists.into_iter().flatten().chain(counts).collect()
    }
}

/// Whether a build may run. `before`: what the build before it asked for, if one was loaded; `granted`: what the operator
/// wrote.
pub fn decide(policy: Policy, asks: &Asks, before: Option<&Asks>, granted: &Asks) -> Result<(), NeedsGrant> {
    let missing = match (policy, before) {
        (Policy::Strict, _) => asks.beyond(granted),
        (Policy::Described, Some(before)) => asks.beyond(&before.and(granted)),
        (Policy::Described, None) => Asks { resources: asks.beyond(granted).resources, ..Asks::default() },
    };
    if missing.is_empty() { Ok(()) } else { Err(NeedsGrant { missing }) }
}

impl NeedsGrant {
    /// In words, for the plugin of this file name.
    pub fn words(&self, stem: &str, granted: &Asks) -> String {
        let mut words = "needs grant: ".to_owned();
        // Writing to a string does not fail.
        let _ = write!(words, "{}; ", self.missing.written().join(", "));
        let whole = granted.and(&self.missing).written().join(", ");
        let _ = write!(words, "to allow it, write into [plugin.{stem}.grant]: {whole}");
        words
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    fn asks(origins: &[&str], secrets: &[&str], memory_mib: u32) -> Asks {
        let owned = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        let resources = Resources { memory_mib: NonZeroU32::new(memory_mib), ..Resources::default() };
        Asks { origins: owned(origins), secrets: owned(secrets), resources }
    }

    #[test]
    fn a_build_gets_no_more_than_it_may_have() {
        let (one, two) = (asks(&["wss://a"], &["key"], 0), asks(&["wss://a", "wss://b"], &["key"], 0));
        let (more_secrets, greedy) = (asks(&["wss://a"], &["key", "other"], 0), asks(&["wss://a"], &["key"], 512));
        let nothing = Asks::default();
        #[track_caller]
        fn check(policy: Policy, asks: &Asks, before: Option<&Asks>, granted: &Asks, missing: &[&str]) {
            let found = decide(policy, asks, before, granted).err().map(|needs| needs.missing.written());
            assert_eq!(found.unwrap_or_default(), missing);
        }
        let described = Policy::Described;
        // The first build: what it describes, but no more of the machine.
        check(described, &one, None, &nothing, &[]);
        check(described, &two, None, &nothing, &[]);
        check(described, &greedy, None, &nothing, &["memory_mib = 512"]);
        check(described, &greedy, None, &asks(&[], &[], 256), &["memory_mib = 512"]);
        check(described, &greedy, None, &asks(&[], &[], 1024), &[]);
        // A later one: what the one before it asked for, and what was written.
        check(described, &one, Some(&two), &nothing, &[]);
        check(described, &two, Some(&one), &nothing, &["origins = [\"wss://b\"]"]);
        check(described, &two, Some(&one), &asks(&["wss://b"], &[], 0), &[]);
        check(described, &more_secrets, Some(&two), &nothing, &["secrets = [\"other\"]"]);
        check(described, &greedy, Some(&one), &nothing, &["memory_mib = 512"]);
        check(described, &greedy, Some(&greedy), &nothing, &[]);
        // Strict: what was written, whatever ran before.
        check(Policy::Strict, &nothing, None, &nothing, &[]);
        check(Policy::Strict, &one, None, &nothing, &["origins = [\"wss://a\"]", "secrets = [\"key\"]"]);
        check(Policy::Strict, &one, Some(&one), &asks(&["wss://a"], &[], 0), &["secrets = [\"key\"]"]);
        check(Policy::Strict, &greedy, None, &greedy, &[]);
    }

    #[test]
    fn the_words_say_what_to_write() {
        let granted = asks(&["wss://a"], &["key"], 0);
        let needs =
            decide(Policy::Strict, &asks(&["wss://b"], &["key"], 512), None, &granted).expect_err("it asks more");
        let expected = "needs grant: origins = [\"wss://b\"], memory_mib = 512; to allow it, write into \
                        [plugin.venue.grant]: origins = [\"wss://a\", \"wss://b\"], secrets = [\"key\"], \
                        memory_mib = 512";
        assert_eq!(needs.words("venue", &granted), expected);
    }

    #[test]
    fn only_what_is_beyond_the_defaults_counts() {
        let limits = PluginLimits { max_memory_bytes: 64 << 20, ..PluginLimits::default() };
        let asked = |mib| Resources { memory_mib: NonZeroU32::new(mib), ..Resources::default() };
        assert_eq!(limits.exceeded_by(&asked(64)), Resources::default());
        assert_eq!(limits.exceeded_by(&asked(65)), asked(65));
        assert_eq!(limits.raised(&asked(32)), limits);
        assert_eq!(limits.raised(&asked(65)).max_memory_bytes, 65 << 20);
    }
}
