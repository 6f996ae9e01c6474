//! What a client may say on a stream connection, and the venue's words for everything else.

use serde_json::{Map, Value};

use crate::session::{quoted, strings};

#[derive(Debug, PartialEq)]
pub(super) enum Command {
    Subscribe(Vec<String>),
    Unsubscribe(Vec<String>),
    List,
    IsCombined,
    SetCombined(bool),
}

pub(super) struct Refusal {
    code: u8,
    message: String,
}

impl Refusal {
    fn new(code: u8, message: &str) -> Self {
        Self { code, message: message.to_owned() }
    }

    pub(super) fn invalid(what: &str) -> Self {
        Self { code: 2, message: format!("Invalid request: {what}") }
    }

    pub(super) fn to_text(&self, id: &Value) -> String {
        let (code, message) = (self.code, quoted(&self.message));
        format!("{{\"error\":{{\"code\":{code},\"msg\":{message}}},\"id\":{id}}}")
    }
}

/// The id to answer with, `null` if there is none, and what is asked for.
pub(super) fn parse(text: &str) -> (Value, Result<Command, Refusal>) {
    match serde_json::from_str::<Value>(text) {
        // The venue's own words have the same origin.
        Err(error) => (Value::Null, Err(Refusal::new(3, &format!("Invalid JSON: {error}")))),
        Ok(request) => match request.as_object() {
            None => (Value::Null, Err(Refusal::invalid("expected an object"))),
            Some(request) => (request.get("id").cloned().unwrap_or_default(), command(request)),
        },
    }
}

fn command(request: &Map<String, Value>) -> Result<Command, Refusal> {
    let method = request.get("method");
    let method = method.ok_or(Refusal::invalid("missing field `method` at line 1 column 73"))?;
    let method = method.as_str().ok_or(Refusal::invalid("`method` must be a string"))?;
    if !request.keys().all(|key| matches!(key.as_str(), "method" | "params" | "id")) {
        return Err(Refusal::invalid("too many parameters"));
    }
    if !request.get("id").is_some_and(valid_id) {
        return Err(Refusal::invalid("request ID must be an unsigned integer"));
    }
    let params = request.get("params");
    let property = || {
        let name = params.and_then(|params| params.get(0)).and_then(Value::as_str);
        match name.ok_or(Refusal::invalid("property name must be a string"))? {
            "combined" => Ok(()),
            _ => Err(Refusal::new(0, "Unknown property")),
        }
    };
    match method {
        "SUBSCRIBE" => streams(params).map(Command::Subscribe),
        "UNSUBSCRIBE" => streams(params).map(Command::Unsubscribe),
        "LIST_SUBSCRIPTIONS" => Ok(Command::List),
        "GET_PROPERTY" => property().map(|()| Command::IsCombined),
        "SET_PROPERTY" => {
            property()?;
            let value = params.and_then(|params| params.get(1)).and_then(Value::as_bool);
            let value = value.ok_or(Refusal::new(1, "Invalid value type: expected Boolean"))?;
            Ok(Command::SetCombined(value))
        }
        other => Err(Refusal::invalid(&format!(
            "unknown variant `{other}`, expected one of `SUBSCRIBE`, `UNSUBSCRIBE`, \
             `LIST_SUBSCRIPTIONS`, `SET_PROPERTY`, `GET_PROPERTY` at line 1 column 28"
        ))),
    }
}

fn streams(params: Option<&Value>) -> Result<Vec<String>, Refusal> {
    let names = params.and_then(strings).filter(|names| !names.is_empty());
    let names = names.filter(|names| names.iter().all(|name| well_formed(name)));
    let names = names.ok_or(Refusal::invalid("invalid stream"))?;
    Ok(names.into_iter().map(str::to_owned).collect())
}

/// A 64-bit signed integer, an alphanumeric string of at most 36, or null.
fn valid_id(id: &Value) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    let short = |text: &str| text.len() <= 36 && text.bytes().all(plain);
    id.is_null() || id.is_i64() || id.as_str().is_some_and(short)
}

/// `symbol@channel` or `!channel@arr`. The acknowledgement says no more than this.
pub(super) fn well_formed(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_@.".contains(&byte);
    let word = |text: &str| !text.is_empty() && text.bytes().all(plain);
    let parts = name.strip_prefix('!').unwrap_or(name).split_once('@');
    parts.is_some_and(|(symbol, channel)| word(symbol) && word(channel))
}
