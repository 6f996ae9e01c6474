//! What a running daemon may be told, on the wire. Who may tell it is decided before.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use url::form_urlencoded;

use super::observations::unknown_provider;
use super::refusal::{Refusal, echo, existing};
use crate::status::Status;
use crate::status::control::{BuildCommand, Control, ReloadReport};

/// How long a change is waited for: a plugin may have to be compiled, and connections to be opened.
const PATIENCE: Duration = Duration::from_secs(60);

/// What came of a reload.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Reload {
    /// Whether everything that is written applies now.
    pub ok: bool,
    /// When it was done. Absent where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// What is wrong with which file or section; what was there before stays.
    pub errors: Vec<String>,
    /// By name.
    pub providers: Vec<Applied>,
}

/// What a reload meant for one provider.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Applied {
    pub provider: String,
    /// A word of [`crate::status::control::Applied`].
    pub result: String,
    /// What changed, or why. Absent where the word says it all.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// Something was done, or has begun.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Done {
    /// In words.
    pub done: String,
}

impl From<&ReloadReport> for Reload {
    fn from(report: &ReloadReport) -> Self {
        let applied = |(provider, applied): (&String, &crate::status::control::Applied)| {
            let (result, reason) = applied.words();
            Applied { provider: provider.clone(), result: result.to_owned(), reason: reason.to_owned() }
        };
        Self {
            ok: report.is_good(),
            at: report.at.map(|at| at.to_rfc3339()),
            errors: report.errors.clone(),
            providers: report.providers.iter().map(applied).collect(),
        }
    }
}

/// The body of those that are about one build.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Chosen {
    digest: Option<String>,
}

impl Chosen {
    /// Nothing at all is as good as `{}`.
    fn parse(body: &[u8]) -> Result<Self, Refusal> {
        if body.is_empty() {
            return Ok(Self::default());
        }
        let chosen: Self = serde_json::from_slice(body)
            .map_err(|error| Refusal::Malformed(format!("the body is not {{\"digest\": \"…\"}} or empty: {error}")))?;
        let fits = |digest: &str| {
            (1..=64).contains(&digest.len()) && digest.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        };
        match chosen.digest.as_deref().filter(|digest| !fits(digest)) {
            None => Ok(chosen),
            Some(digest) => {
                Err(Refusal::Malformed(format!("{} is no digest, nor the first digits of one", echo(digest))))
            }
        }
    }

    /// For those that take none.
    fn none(body: &[u8]) -> Result<(), Refusal> {
        match Self::parse(body)?.digest {
            None => Ok(()),
            Some(_) => Err(Refusal::Malformed("no digest can be chosen here".to_owned())),
        }
    }
}

pub(super) async fn reload(
    State(control): State<Control>,
    RawQuery(query): RawQuery,
    body: Bytes,
) -> Result<Response, Refusal> {
    Chosen::none(&body)?;
    if wait(query.as_deref())? {
        let report = patiently(control.reload()).await??;
        return Ok(Json(Reload::from(&report)).into_response());
    }
    control.reload_soon();
    Ok((StatusCode::ACCEPTED, Json(Done { done: "a reload is due; /v1/config will say what came of it".to_owned() }))
        .into_response())
}

fn wait(query: Option<&str>) -> Result<bool, Refusal> {
    let mut wait = true;
    for (_, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        wait = value.parse().map_err(|_| Refusal::Malformed(format!("wait is true or false, not {}", echo(&value))))?;
    }
    Ok(wait)
}

pub(super) async fn rotate(State(control): State<Control>, body: Bytes) -> Result<Response, Refusal> {
    Chosen::none(&body)?;
    begin_rotation(&control, None, "every connection is being replaced").await
}

pub(super) async fn rotate_one(
    State(status): State<Arc<Status>>,
    State(control): State<Control>,
    path: Result<Path<String>, PathRejection>,
    body: Bytes,
) -> Result<Response, Refusal> {
    let Path(provider) = path?;
    Chosen::none(&body)?;
    if status.find(&provider).is_none() {
        return Err(unknown_provider(&status, &provider));
    }
    let done = format!("every connection of {provider} is being replaced");
    begin_rotation(&control, Some(provider), &done).await
}

async fn begin_rotation(control: &Control, provider: Option<String>, done: &str) -> Result<Response, Refusal> {
    patiently(control.rotate(provider)).await??.map_err(Refusal::Conflict)?;
    Ok((StatusCode::ACCEPTED, Json(Done { done: done.to_owned() })).into_response())
}

/// The daemon, the plugin that is meant, and the body.
type AboutBuild = (State<Arc<Status>>, State<Control>, Result<Path<String>, PathRejection>, Bytes);

pub(super) async fn release(about: AboutBuild) -> Result<Json<Done>, Refusal> {
    let chosen = Chosen::parse(&about.3)?;
    build(about, BuildCommand::Release(chosen.digest)).await
}

pub(super) async fn rollback(about: AboutBuild) -> Result<Json<Done>, Refusal> {
    Chosen::none(&about.3)?;
    build(about, BuildCommand::Rollback).await
}

pub(super) async fn pin(about: AboutBuild) -> Result<Json<Done>, Refusal> {
    let chosen = Chosen::parse(&about.3)?;
    build(about, BuildCommand::Pin(chosen.digest)).await
}

pub(super) async fn unpin(about: AboutBuild) -> Result<Json<Done>, Refusal> {
    Chosen::none(&about.3)?;
    build(about, BuildCommand::Unpin).await
}

async fn build(
    (State(status), State(control), path, _): AboutBuild,
    what: BuildCommand,
) -> Result<Json<Done>, Refusal> {
    let Path(plugin) = path?;
    let answer = patiently(control.build(plugin.clone(), what)).await??;
    answer.map(|done| Json(Done { done })).map_err(|why| {
        let plugins = status.plugins();
        if plugins.iter().any(|(file, _)| *file == plugin) {
            return Refusal::Conflict(why);
        }
        let known = existing(plugins.iter().map(|(file, _)| file.as_str()));
        Refusal::Unknown(format!("no plugin {}; there are: {known}", echo(&plugin)))
    })
}

async fn patiently<T>(change: impl Future<Output = T>) -> Result<T, Refusal> {
    let late = "the daemon is still at it; /v1/config and /v1/plugins will say what came of it";
    timeout(PATIENCE, change).await.map_err(|_| Refusal::Unavailable(late.to_owned()))
}
