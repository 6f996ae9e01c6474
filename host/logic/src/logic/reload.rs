//! Which plugin files to load, from listings of their directory.
//!
//! Reading the directory is `plugins_dir`'s, loading is `plugin`'s, and running is the supervisor's. Listings taken
//! at intervals need no watcher, lose no events and survive every way in which editors and copies write a file.

use std::collections::BTreeMap;

/// What can be known of a file without reading it. Two equal stamps are taken for the same content.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Stamp {
    /// Bytes.
    pub len: u64,
    /// Of the last change of the content, in nanoseconds since the Unix epoch; negative before it.
    pub modified_ns: i128,
    /// The file's number in its file system, by which a file renamed over another of equal length and age is seen;
    /// 0 where there is none.
    pub inode: u64,
    /// Of what belongs to the file and lies beside it: whether that is the same as before. 0 where there is nothing.
    pub beside: u64,
}

/// File name to stamp: the plugin files of one directory at one moment. Other files are left out by the caller.
pub type Listing = BTreeMap<String, Stamp>;

/// What a listing means for one file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// A new file.
    Load(String),
    /// Another content under a known name. What runs is replaced only once the new content has loaded.
    Reload(String),
    /// The file is gone. It may be one that never loaded.
    Unload(String),
}

/// Turns listings into changes.
///
/// A file counts when two listings in a row agree on it, and it is gone when two in a row lack it: a copy in progress
/// is not a plugin, and an editor that deletes and writes anew unloads nothing. Each content is answered by one
/// change, whatever became of it: a file that does not load is not tried again until it changes.
#[derive(Clone, Default, Debug)]
pub struct Planner {
    /// The listing before.
    previous: Listing,
    /// The files for which the last change was not [`Change::Unload`], as they were then.
    known: Listing,
}

impl Planner {
    /// Knows no file: the second listing brings the first changes.
    pub fn new() -> Self {
        Self::default()
    }

    /// The next listing. A directory that could not be read gives none: do not call this then. Answers what to do,
    /// in the order of names, with what is to go at the end.
    pub fn handle_listing(&mut self, listing: Listing) -> Vec<Change> {
        let mut changes = Vec::new();
        for (name, stamp) in &listing {
            let settled = self.previous.get(name) == Some(stamp);
            if settled && self.known.get(name) != Some(stamp) {
                let change = match self.known.insert(name.clone(), *stamp) {
                    None => Change::Load(name.clone()),
                    Some(_) => Change::Reload(name.clone()),
                };
                changes.push(change);
            }
        }
        let there = |name: &String| listing.contains_key(name) || self.previous.contains_key(name);
        self.known.retain(|name, _| {
            let stays = there(name);
            if !stays {
                changes.push(Change::Unload(name.clone()));
            }
            stays
        });
        self.previous = listing;
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::super::chance::Chance;
    use super::*;

    /// `"a=3@7 b=1@2#9"`: `a` has 3 bytes of time 7, `b` 1 byte of time 2 in inode 9.
    fn listing(text: &str) -> Listing {
        let file = |file: &str| {
            let (name, stamp) = file.split_once('=').unwrap();
            let (len, time) = stamp.split_once('@').unwrap();
            let (time, inode) = time.split_once('#').unwrap_or((time, "0"));
            let stamp = Stamp {
                len: len.parse().unwrap(),
                modified_ns: time.parse().unwrap(),
                inode: inode.parse().unwrap(),
                beside: 0,
            };
            (name.to_owned(), stamp)
        };
        text.split_whitespace().map(file).collect()
    }

    /// Compares the changes after each listing: `+a` loads, `~a` reloads, `-a` unloads.
    #[track_caller]
    fn check(listings: &[&str], expected: &[&str]) {
        let mut planner = Planner::new();
        let found: Vec<String> = listings
            .iter()
            .map(|text| {
                let changes = planner.handle_listing(listing(text)).into_iter();
                let words = changes.map(|change| match change {
                    Change::Load(name) => format!("+{name}"),
                    Change::Reload(name) => format!("~{name}"),
                    Change::Unload(name) => format!("-{name}"),
                });
                words.collect::<Vec<_>>().join(" ")
            })
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_growing_file_waits() {
        check(&["a=1@1", "a=2@2", "a=2@2", "a=2@2"], &["", "", "+a", ""]);
    }

    #[test]
    fn a_file_that_grows_without_end_never_counts() {
        check(&["a=1@1", "a=2@1", "a=3@1", "a=4@1"], &["", "", "", ""]);
    }

    #[test]
    fn a_rename_over_is_one_reload_and_no_unload() {
        check(&["a=2@2#1", "a=2@2#1", "a=2@2#8", "a=2@2#8", "a=2@2#8"], &["", "+a", "", "~a", ""]);
    }

    #[test]
    fn an_editor_that_deletes_and_writes_anew_unloads_nothing() {
        check(&["a=2@2", "a=2@2", "", "a=3@5", "a=3@5"], &["", "+a", "", "", "~a"]);
    }

    #[test]
    fn a_file_that_was_away_for_a_moment_is_the_same_file() {
        check(&["a=2@2", "a=2@2", "", "a=2@2", "a=2@2"], &["", "+a", "", "", ""]);
    }

    #[test]
    fn a_deleted_file_is_unloaded_once_and_may_come_back() {
        check(&["a=2@2", "a=2@2", "", "", "", "a=2@2", "a=2@2"], &["", "+a", "", "-a", "", "", "+a"]);
    }

    #[test]
    fn a_file_that_appears_and_goes_again_was_never_there() {
        check(&["a=1@1", "", "a=1@1", "", ""], &["", "", "", "", ""]);
    }

    #[test]
    fn a_file_set_back_to_what_it_was_before_it_settled_changes_nothing() {
        check(&["a=2@2", "a=2@2", "a=9@9", "a=2@2", "a=2@2"], &["", "+a", "", "", ""]);
    }

    #[test]
    fn files_do_not_wait_for_one_another_and_what_goes_goes_last() {
        check(&["a=1@1 b=1@1", "a=1@1 b=2@2", "b=2@2 c=1@1", "b=2@2 c=1@1"], &["", "+a", "+b", "+c -a"]);
    }

    /// A directory where files are written, replaced and deleted at random. The model: a file counts if it stands
    /// alike in the last two listings, is gone if it is in neither, and otherwise stays what it was.
    #[test]
    fn what_is_known_is_what_the_last_two_listings_agree_on() {
        for seed in 0..100 {
            let mut chance = Chance::new(seed);
            let (mut planner, mut directory, mut before) = (Planner::new(), Listing::new(), Listing::new());
            let mut loaded = Listing::new();
            for _ in 0..300 {
                let name = format!("{}", chance.below(4));
                match chance.below(6) {
                    0 => {
                        directory.remove(&name);
                    }
                    1 | 2 => {
                        let stamp = Stamp { len: chance.below(3), modified_ns: 0, inode: chance.below(2), beside: 0 };
                        directory.insert(name, stamp);
                    }
                    _ => {}
                }
                for change in planner.handle_listing(directory.clone()) {
                    match change {
                        Change::Load(name) => {
                            let known = loaded.insert(name.clone(), directory[&name]);
                            assert_eq!(known, None, "seed {seed}: loaded twice");
                        }
                        Change::Reload(name) => {
                            let known = loaded.insert(name.clone(), directory[&name]);
                            assert_ne!(known, None, "seed {seed}: reloaded before loaded");
                            assert_ne!(known, Some(directory[&name]), "seed {seed}: for nothing");
                        }
                        Change::Unload(name) => {
                            assert!(loaded.remove(&name).is_some(), "seed {seed}: unknown");
                        }
                    }
                }
                for (name, stamp) in &directory {
                    if before.get(name) == Some(stamp) {
                        assert_eq!(loaded.get(name), Some(stamp), "seed {seed}: not noticed");
                    }
                }
                for name in loaded.keys() {
                    let there = directory.contains_key(name) || before.contains_key(name);
                    assert!(there, "seed {seed}: {name} is gone and still loaded");
                }
                before = directory.clone();
            }
        }
    }
}
