//! Observations as they change, until somebody has seen enough: a table where there is a terminal, lines where there is
//! none. Where they come from is the caller's business: `watch` asks a daemon, `demo` reads its own store.

use std::io::{self, Write};
use std::pin::pin;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::changes::Seen;
use super::input::{Input, Pressed};
use super::row::Row;
use super::screen::{self, Screen};
use super::view::View;
use super::{CliError, Exit};
use crate::api::Observation;

/// How often the store is looked at.
const REFRESH: Duration = Duration::from_millis(500);

/// How to show it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Live {
    /// The table's first line.
    pub title: String,
    /// Lines below the table, where there is room.
    pub notes: Vec<String>,
    /// For how long; until `q` or a signal, if `None`.
    pub limit: Option<Duration>,
    /// Lines of JSON, even where there is a terminal.
    pub json: bool,
}

/// Shows what `look` sees, every half second. A first look that fails is an error; later ones are shown as such and
/// tried again, and the last one decides the result.
pub async fn live<L>(look: L, shown: &Live) -> Result<Exit, CliError>
where
    L: AsyncFnMut() -> Result<Vec<Observation>, CliError>,
{
    if screen::is_there() && !shown.json {
        table(look, shown).await
    } else {
        lines(look, shown, &mut io::stdout()).await
    }
}

async fn table<L>(mut look: L, shown: &Live) -> Result<Exit, CliError>
where
    L: AsyncFnMut() -> Result<Vec<Observation>, CliError>,
{
    // Before the screen is taken: an address with a typing error is told like any other.
    let first = look().await?;
    let mut view = View::new(&shown.title, &shown.notes, Instant::now());
    view.update(first.iter().map(Row::from), Instant::now());
    let mut screen = Screen::enter()?;
    let mut input = Input::new(true, shown.limit)?;
    let mut lost = None;
    let mut next = Instant::now() + REFRESH;
    loop {
        draw(&mut screen, &mut view)?;
        let answer = {
            let mut looking = pin!(async {
                sleep_until(next).await;
                look().await
            });
            loop {
                tokio::select! {
                    answer = &mut looking => break answer,
                    pressed = input.next() => match pressed? {
                        Pressed::Quit => return lost.map_or(Ok(Exit::Fine), Err),
                        other => {
                            view.scroll(other);
                            draw(&mut screen, &mut view)?;
                        }
                    },
                }
            }
        };
        next = Instant::now() + REFRESH;
        lost = match answer {
            Ok(observations) => {
                view.update(observations.iter().map(Row::from), Instant::now());
                None
            }
            Err(error) => {
                view.lost(error.to_string());
                Some(error)
            }
        };
    }
}

fn draw(screen: &mut Screen, view: &mut View) -> io::Result<()> {
    let size = screen.size()?;
    screen.draw(&view.lines(size, Instant::now()))
}

async fn lines<L>(mut look: L, shown: &Live, out: &mut impl Write) -> Result<Exit, CliError>
where
    L: AsyncFnMut() -> Result<Vec<Observation>, CliError>,
{
    let mut input = Input::new(false, shown.limit)?;
    let mut seen = Seen::default();
    print(&mut seen, look().await?, shown.json, out)?;
    let mut lost: Option<CliError> = None;
    let mut next = Instant::now() + REFRESH;
    loop {
        let answer = {
            let mut looking = pin!(async {
                sleep_until(next).await;
                look().await
            });
            loop {
                tokio::select! {
                    answer = &mut looking => break answer,
                    pressed = input.next() => if pressed? == Pressed::Quit {
                        return lost.map_or(Ok(Exit::Fine), Err);
                    },
                }
            }
        };
        next = Instant::now() + REFRESH;
        lost = match answer {
            Ok(observations) => {
                if lost.is_some() {
                    eprintln!("feedgate: the daemon answers again");
                }
                print(&mut seen, observations, shown.json, out)?;
                None
            }
            Err(error) => {
                // Once for each loss: lines go on to files.
                if lost.is_none() {
                    eprintln!("feedgate: {error}");
                }
                Some(error)
            }
        };
    }
}

fn print(seen: &mut Seen, next: Vec<Observation>, json: bool, out: &mut impl Write) -> Result<(), CliError> {
    for change in seen.update(next) {
        let line = if json { change.json().map_err(|error| CliError::Output(error.into()))? } else { change.text() };
        writeln!(out, "{line}")?;
    }
    Ok(out.flush()?)
}

#[cfg(test)]
mod tests {
    use super::super::row::example;
    use super::*;
    use crate::store::State;

    async fn shown(looks: &[Option<&str>], json: bool) -> (Result<Exit, CliError>, String) {
        let mut looks = looks.iter();
        let mut last = None;
        let look = async || {
            last = looks.next().copied().or(last);
            let refused = || CliError::Refused { status: 404, said: "gone".to_owned() };
            let value = last.flatten().ok_or_else(refused)?;
            Ok(vec![example("a", value, State::Fresh)])
        };
        let live = Live { limit: Some(Duration::from_secs(10)), json, ..Live::default() };
        let mut out = Vec::new();
        let exit = lines(look, &live, &mut out).await;
        (exit, String::from_utf8(out).expect("text"))
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_terminal_there_is_one_line_a_change() {
        let (exit, text) = shown(&[Some("1"), Some("1"), Some("2"), None, Some("2"), Some("3")], false).await;
        assert!(matches!(exit, Ok(Exit::Fine)), "{exit:?}");
        assert_eq!(text, "venue a fresh 1 1.5 s\nvenue a fresh 2 1.5 s\nvenue a fresh 3 1.5 s\n");
        let (_, text) = shown(&[Some("1"), Some("2")], true).await;
        let values: Vec<Option<Observation>> = text.lines().map(|line| serde_json::from_str(line).ok()).collect();
        assert_eq!(values, ["1", "2"].map(|value| Some(example("a", value, State::Fresh))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_daemon_that_is_gone_at_the_end_is_an_error() {
        let (exit, text) = shown(&[Some("1"), None], false).await;
        assert!(matches!(exit, Err(CliError::Refused { .. })), "{exit:?}");
        assert_eq!(text.lines().count(), 1);
        let (exit, text) = shown(&[None, Some("1")], false).await;
        assert!(exit.is_err() && text.is_empty(), "the first look must succeed");
    }
}
