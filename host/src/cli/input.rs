//! What ends or moves the live view: keys, signals, and the time that was asked for.

use std::io;
use std::time::Duration;

use crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until};

/// How often keys are looked for: no delay that a hand notices, no load that a machine does.
const LOOK: Duration = Duration::from_millis(50);

/// What somebody wants.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Pressed {
    Quit,
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
    Resized,
}

pub(super) struct Input {
    /// `None` without a terminal.
    keys: Option<Interval>,
    until: Option<Instant>,
    signals: Signals,
}

impl Input {
    /// With `keys`, the terminal must be in raw mode. `limit` counts from now.
    pub(super) fn new(keys: bool, limit: Option<Duration>) -> io::Result<Self> {
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Skip);
        Ok(Self {
            keys: keys.then_some(look),
            // A time that no clock holds is no limit.
            until: limit.and_then(|limit| Instant::now().checked_add(limit)),
            signals: Signals::new()?,
        })
    }

    /// The next thing pressed; a signal and the end of the time are as good as `q`. Nothing is lost when the future
    /// is dropped.
    pub(super) async fn next(&mut self) -> io::Result<Pressed> {
        loop {
            tokio::select! {
                () = at(self.until) => return Ok(Pressed::Quit),
                () = self.signals.any() => return Ok(Pressed::Quit),
                () = tick(self.keys.as_mut()) => {
                    while event::poll(Duration::ZERO)? {
                        if let Some(pressed) = meaning(&event::read()?) {
                            return Ok(pressed);
                        }
                    }
                }
            }
        }
    }
}

fn meaning(event: &Event) -> Option<Pressed> {
    let key = match event {
        Event::Key(key) if key.kind != KeyEventKind::Release => key,
        Event::Resize(..) => return Some(Pressed::Resized),
        _ => return None,
    };
    match key.code {
        KeyCode::Char('c' | 'd') if key.modifiers.contains(KeyModifiers::CONTROL) => Some(Pressed::Quit),
        KeyCode::Char('q') | KeyCode::Esc => Some(Pressed::Quit),
        KeyCode::Up | KeyCode::Char('k') => Some(Pressed::Up),
        KeyCode::Down | KeyCode::Char('j') => Some(Pressed::Down),
        KeyCode::PageUp => Some(Pressed::PageUp),
        KeyCode::PageDown | KeyCode::Char(' ') => Some(Pressed::PageDown),
        KeyCode::Home => Some(Pressed::Home),
        KeyCode::End => Some(Pressed::End),
        _ => None,
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

async fn tick(interval: Option<&mut Interval>) {
    match interval {
        Some(interval) => drop(interval.tick().await),
        None => std::future::pending().await,
    }
}

/// The signals that ask a program to end. Unheard, they would leave the terminal as it is.
#[cfg(unix)]
struct Signals([tokio::signal::unix::Signal; 3]);

#[cfg(unix)]
impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self([signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?]))
    }

    async fn any(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self)
    }

    async fn any(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending().await
        }
    }
}
