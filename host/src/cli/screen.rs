//! The terminal while a live view has it: taken on entry, given back on every way out, a panic's and a signal's too.

use std::io::{self, IsTerminal, Write};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::style::{Attribute, Color, Print, ResetColor, SetAttribute, SetForegroundColor};
use crossterm::terminal::{
    BeginSynchronizedUpdate, Clear, ClearType, DisableLineWrap, EnableLineWrap, EndSynchronizedUpdate,
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode, size,
};
use crossterm::{execute, queue};

use super::table::{Line, Tone};

/// Whether the terminal is in our hands. It is one for the process, so this is too.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// Whether there is a terminal to take.
pub(super) fn is_there() -> bool {
    io::stdout().is_terminal()
}

/// Holds the alternate screen until dropped.
pub(super) struct Screen(());

impl Screen {
    pub(super) fn enter() -> io::Result<Self> {
        give_back_before_panics();
        // Dropping it restores the terminal, whatever fails next.
        let screen = Self(());
        take()?;
        Ok(screen)
    }

    /// Columns and lines.
    pub(super) fn size(&self) -> io::Result<(usize, usize)> {
        let (width, height) = size()?;
        Ok((usize::from(width), usize::from(height)))
    }

    /// Replaces what is shown, in one write so that nothing flickers.
    pub(super) fn draw(&mut self, lines: &[Line]) -> io::Result<()> {
        // A panic of some other task has told its story below; the view goes on above it.
        take()?;
        let mut frame = Vec::new();
        queue!(frame, BeginSynchronizedUpdate)?;
        for (at, line) in lines.iter().enumerate() {
            queue!(frame, MoveTo(0, u16::try_from(at).unwrap_or(u16::MAX)))?;
            for (text, tone) in &line.0 {
                paint(&mut frame, text, *tone)?;
            }
            queue!(frame, Clear(ClearType::UntilNewLine))?;
        }
        // The last line may be the terminal's last: clearing from there must not take it.
        let rest = u16::try_from(lines.len()).unwrap_or(u16::MAX);
        if size()?.1 > rest {
            queue!(frame, MoveTo(0, rest), Clear(ClearType::FromCursorDown))?;
        }
        queue!(frame, EndSynchronizedUpdate)?;
        let mut out = io::stdout().lock();
        out.write_all(&frame)?;
        out.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

fn take() -> io::Result<()> {
    if TAKEN.swap(true, Ordering::AcqRel) {
        return Ok(());
    }
    enable_raw_mode()?;
    execute!(io::stdout(), EnterAlternateScreen, DisableLineWrap, Hide)
}

/// Nothing can be done about a terminal that is gone.
fn give_back() {
    if !TAKEN.swap(false, Ordering::AcqRel) {
        return;
    }
    let _ = execute!(io::stdout(), Show, EnableLineWrap, LeaveAlternateScreen);
    let _ = disable_raw_mode();
}

/// A panic's words would vanish with the alternate screen.
fn give_back_before_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let then = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            give_back();
            then(panic);
        }));
    });
}

/// Colours follow `NO_COLOR` (crossterm's own rule); the words never depend on them.
fn paint(frame: &mut Vec<u8>, text: &str, tone: Tone) -> io::Result<()> {
    match tone {
        Tone::Plain => return queue!(frame, Print(text)),
        Tone::Heading => queue!(frame, SetAttribute(Attribute::Bold))?,
        Tone::Good => queue!(frame, SetForegroundColor(Color::Green))?,
        Tone::Doubtful => queue!(frame, SetForegroundColor(Color::Yellow))?,
        Tone::Bad => queue!(frame, SetForegroundColor(Color::Red))?,
        Tone::Changed => queue!(frame, SetForegroundColor(Color::Cyan), SetAttribute(Attribute::Bold))?,
        Tone::Faint => queue!(frame, SetAttribute(Attribute::Dim))?,
    }
    queue!(frame, Print(text), ResetColor, SetAttribute(Attribute::Reset))
}
