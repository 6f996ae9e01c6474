//! `feedgate plugin diff`: what a candidate build would make of recordings, beside the build in use. The comparison is the
//! one that a running daemon makes before it lets a build take over.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use serde_json::{Value as Json, json};

use super::plugin;
use crate::builds::recording::{self, RecordingError};
use crate::builds::shadow::{Bounds, shadow_within};
use crate::contract::codec::{Death, OpenCodec};
use crate::logic::shadow::Verdict;
use crate::plugin::Plugin;

/// Nobody waits for a place of theirs: a recording may be read to its end.
const BOUNDS: Bounds = Bounds { time: Duration::from_secs(60), inputs: 200_000, values: 1_000_000 };

/// What was asked for.
#[derive(Debug)]
pub struct Diff {
    pub old: PathBuf,
    pub new: PathBuf,
    pub recordings: Vec<PathBuf>,
    pub ids: Vec<String>,
    pub settings: Option<String>,
    pub json: bool,
}

/// Exit code 0 when the candidate would be accepted on each recording, 1 when it would be refused, 2 when a plugin or a
/// recording cannot be read.
pub async fn diff(asked: &Diff) -> anyhow::Result<ExitCode> {
    let (_old_engine, old) = plugin::load(&asked.old)?;
    let (_new_engine, new) = plugin::load(&asked.new)?;
    let mut verdicts = Vec::new();
    for recording in &asked.recordings {
        let verdict = tried(asked, &old, &new, recording).await;
        verdicts.push((recording, verdict.map_err(|error| anyhow!("{}: {error}", recording.display()))?));
    }
    let is_refused = verdicts.iter().any(|(_, verdict)| verdict.is_refused());
    if asked.json {
        let recordings: Vec<Json> = verdicts.iter().map(|(recording, verdict)| report(recording, verdict)).collect();
        println!("{:#}", json!({ "accepted": !is_refused, "recordings": recordings }));
    } else {
        verdicts.iter().for_each(|(recording, verdict)| print(recording, verdict));
    }
    Ok(if is_refused { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

async fn tried(asked: &Diff, old: &Plugin, new: &Plugin, recording: &Path) -> Result<Verdict, RecordingError> {
    let header = recording::header(&mut recording::open(recording)?)?;
    let ids = [&asked.ids, &header.ids, &old.description().default_ids];
    let ids = ids.into_iter().find(|ids| !ids.is_empty()).cloned().unwrap_or_default();
    let settings = asked.settings.clone().or_else(|| header.settings.map(|settings| settings.to_string()));
    let tapes = recording::tapes(old, &mut recording::open(recording)?, &ids)?;
    let configured = |plugin: &Plugin, name: &str| {
        plugin.configured(Arc::from(name), settings.clone().unwrap_or_else(|| "{}".to_owned()))
    };
    let old = configured(old, "old");
    // Settings that the build in use refuses are no fault of the candidate.
    if let Err(death @ Death::Settings { .. }) = old.open().await {
        return Err(RecordingError::Settings(death));
    }
    Ok(shadow_within(&old, &configured(new, "new"), &tapes, BOUNDS).await)
}

fn report(recording: &Path, verdict: &Verdict) -> Json {
    json!({
        "recording": recording.display().to_string(),
        "accepted": !verdict.is_refused(),
        "refused": verdict.refused,
        "lines": verdict.lines,
    })
}

fn print(recording: &Path, verdict: &Verdict) {
    let word = if verdict.is_refused() { "refused" } else { "accepted" };
    println!("{}: {word}", recording.display());
    verdict.refused.iter().for_each(|reason| println!("  because {reason}"));
    verdict.lines.iter().for_each(|line| println!("  {line}"));
    if !verdict.is_refused() && verdict.lines.is_empty() {
        println!("  {verdict}");
    }
}
