//! Stories of the builds of one name, and a random walk through many.

use super::*;
use crate::logic::chance::Chance;

fn digest(number: u64) -> Digest {
    let mut digest = [0; 32];
    digest[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    digest[8] = number as u8;
    digest.into()
}

fn at(seconds: i64) -> UnixNanos {
    UnixNanos(seconds * 1_000_000_000)
}

/// Steps: `file 1`, `gone`, `trial 1`, `refused 1`, `needs-grant 1`, `proven 1`, `failed 1`, `quarantine 1`, `retry`,
/// `wait SECONDS`, `release [1]`, `rollback`, `pin [1]`, `unpin`, `config`, `untrusted 1`. Compared is what is to run, `-` for nothing,
/// and after `?` what is to be judged.
#[track_caller]
fn check(steps: &[(&str, &str)]) {
    let mut builds = Builds::default();
    let mut now = 0;
    for (step, expected) in steps {
        let (what, number) = step.split_once(' ').unwrap_or((step, ""));
        let named = number.parse().ok().map(digest);
        let digits = named.map(|digest| digest.to_string()[..20].to_owned());
        let build = named.unwrap_or_default();
        now += 1;
        let time = at(now);
        match what {
            "file" => builds.handle_file(build, "1.0.0", time),
            "gone" => builds.handle_removed(),
            "trial" => builds.handle_judged(build, Standing::Trial, "", time),
            "refused" => builds.handle_judged(build, Standing::Refused, "worse", time),
            "needs-grant" => builds.handle_judged(build, Standing::NeedsGrant, "more", time),
            "proven" => builds.handle_proven(build, time),
            "failed" => drop(builds.handle_failed(build, "worse", time)),
            "quarantine" => builds.handle_quarantine(build, "dies", time),
            "retry" => {
                if let Some(due) = builds.due(time) {
                    builds.handle_retry(due, time);
                }
            }
            "wait" => now += number.parse::<i64>().unwrap(),
            "release" => drop(builds.release(digits.as_deref(), time)),
            "rollback" => drop(builds.rollback(time)),
            "pin" => drop(builds.pin(digits.as_deref(), time)),
            "unpin" => builds.unpin(),
            "config" => builds.handle_config_changed(time),
            "untrusted" => builds.handle_untrusted(build, "not signed", time),
            other => panic!("{other}"),
        }
        let name = |found: Option<Digest>| found.map_or("-".to_owned(), |found| found.as_bytes()[8].to_string());
        let judge = builds.to_judge().map(|build| format!(" ?{}", build.as_bytes()[8])).unwrap_or_default();
        assert_eq!(format!("{}{judge}", name(builds.target())), *expected, "after {step}");
    }
}

#[test]
fn the_newest_build_that_nothing_speaks_against_runs() {
    check(&[("file 1", "- ?1"), ("trial 1", "1"), ("proven 1", "1"), ("file 2", "1 ?2"), ("trial 2", "2")]);
    check(&[("file 1", "- ?1"), ("trial 1", "1"), ("file 2", "1 ?2"), ("refused 2", "1"), ("file 2", "1")]);
    check(&[("file 1", "- ?1"), ("trial 1", "1"), ("file 2", "1 ?2"), ("trial 2", "2"), ("failed 2", "1")]);
    check(&[("file 1", "- ?1"), ("trial 1", "1"), ("file 2", "1 ?2"), ("trial 2", "2"), ("file 1", "1")]);
    check(&[("file 1", "- ?1"), ("trial 1", "1"), ("gone", "-"), ("file 1", "1")]);
}

#[test]
fn without_another_a_bad_build_stays_until_it_is_quarantined() {
    check(&[("file 1", "- ?1"), ("trial 1", "1"), ("failed 1", "1"), ("quarantine 1", "-")]);
}

#[test]
fn quarantine_ends_after_an_hour_and_after_two_the_second_time() {
    check(&[
        ("file 1", "- ?1"),
        ("trial 1", "1"),
        ("quarantine 1", "-"),
        ("wait 3000", "-"),
        ("retry", "-"),
        ("wait 600", "-"),
        ("retry", "1"),
        ("quarantine 1", "-"),
        ("wait 3600", "-"),
        ("retry", "-"),
        ("wait 3600", "-"),
        ("retry", "1"),
    ]);
    check(&[("file 1", "- ?1"), ("trial 1", "1"), ("quarantine 1", "-"), ("release 1", "- ?1")]);
}

#[test]
fn a_build_that_asks_for_more_waits_for_its_grant() {
    check(&[
        ("file 1", "- ?1"),
        ("trial 1", "1"),
        ("file 2", "1 ?2"),
        ("needs-grant 2", "1"),
        ("file 2", "1"),
        ("config", "1 ?2"),
    ]);
}

#[test]
fn a_build_for_which_nobody_vouches_is_judged_once_somebody_does() {
    check(&[
        ("file 1", "- ?1"),
        ("trial 1", "1"),
        ("untrusted 2", "1"),
        ("config", "1"),
        ("file 2", "1 ?2"),
        ("trial 2", "2"),
        ("untrusted 1", "2"),
    ]);
    check(&[("file 1", "- ?1"), ("trial 1", "1"), ("pin", "1"), ("untrusted 2", "1"), ("pin 2", "2")]);
}

#[test]
fn the_operator_goes_back_and_pins() {
    check(&[
        ("file 1", "- ?1"),
        ("trial 1", "1"),
        ("rollback", "1"),
        ("file 2", "1 ?2"),
        ("trial 2", "2"),
        ("rollback", "1"),
        ("file 2", "1"),
        ("release 2", "1 ?2"),
    ]);
    check(&[
        ("file 1", "- ?1"),
        ("trial 1", "1"),
        ("pin", "1"),
        ("file 2", "1"),
        ("unpin", "1 ?2"),
        ("refused 2", "1"),
        ("pin 2", "2"),
        ("failed 2", "2"),
        ("quarantine 2", "-"),
        ("unpin", "1"),
    ]);
    // Pinned is not granted.
    check(&[
        ("file 1", "- ?1"),
        ("trial 1", "1"),
        ("pin", "1"),
        ("needs-grant 1", "-"),
        ("file 2", "-"),
        ("config", "- ?1"),
        ("trial 1", "1"),
    ]);
}

#[test]
fn builds_are_found_by_their_first_digits() {
    let mut builds = Builds::default();
    builds.handle_file(digest(1), "1", at(0));
    builds.handle_file(digest(2), "2", at(1));
    assert_eq!(builds.pin(Some("zz"), at(2)), Err(Unmet::Unknown("zz".to_owned())));
    assert_eq!(builds.pin(Some(""), at(2)), Err(Unmet::Ambiguous(String::new())));
    assert_eq!(builds.pin(Some(&digest(2).to_string()), at(2)), Ok(digest(2)));
    assert_eq!(builds.release(Some(&digest(2).short()), at(2)), Err(Unmet::NotHeld(digest(2).short())));
}

/// Files dropped, replaced, deleted, found good and bad, restarts of the daemon in between: at any time the best good
/// build known is what runs.
#[test]
fn the_best_good_build_known_is_running() {
    for seed in 0..2_000 {
        let mut chance = Chance::new(seed);
        let mut builds = Builds::default();
        // The model: what was found out last of each build, and the order in which they last were the file.
        let mut order: Vec<u64> = Vec::new();
        let mut fine: std::collections::BTreeMap<u64, bool> = std::collections::BTreeMap::new();
        let mut there = false;
        for step in 0..60 {
            let now = at(step);
            match chance.below(9) {
                0..=2 => {
                    let number = chance.below(6);
                    builds.handle_file(digest(number), "1", now);
                    order.retain(|known| *known != number);
                    order.insert(0, number);
                    there = true;
                }
                3 => {
                    builds.handle_removed();
                    there = false;
                }
                4 | 5 => {
                    if let Some(due) = builds.to_judge() {
                        let good = chance.one_in(2);
                        let standing = match (good, chance.one_in(2)) {
                            (true, _) => Standing::Trial,
                            (false, true) => Standing::Refused,
                            (false, false) => Standing::NeedsGrant,
                        };
                        builds.handle_judged(due, standing, "", now);
                        fine.insert(u64::from(due.as_bytes()[8]), good);
                    }
                }
                6 => {
                    if let Some(running) = builds.target() {
                        if chance.one_in(2) {
                            builds.handle_proven(running, now);
                        } else if builds.handle_failed(running, "worse", now) {
                            fine.insert(u64::from(running.as_bytes()[8]), false);
                        }
                    }
                }
                7 => {
                    if let Some(running) = builds.target().filter(|_| chance.one_in(3)) {
                        builds.handle_quarantine(running, "dies", now);
                        fine.insert(u64::from(running.as_bytes()[8]), false);
                    }
                }
                _ => {
                    builds = Builds::remembered(builds.all().to_vec(), builds.pinned());
                    there = false;
                }
            }
            let best = order.iter().find(|number| fine.get(number) == Some(&true));
            let expected = best.filter(|_| there).map(|number| digest(*number));
            assert_eq!(builds.target(), expected, "seed {seed}, step {step}");
        }
    }
}

#[test]
fn what_is_remembered_is_bounded_and_what_matters_stays() {
    let mut builds = Builds::default();
    for number in 0..100 {
        builds.handle_file(digest(number), "1", at(0));
        let standing = if number == 0 { Standing::Trial } else { Standing::Refused };
        builds.handle_judged(digest(number), standing, "", at(0));
        builds.handle_proven(digest(number), at(0));
    }
    assert_eq!(builds.all().len(), MEMORY);
    assert_eq!(builds.target(), Some(digest(0)));
}
